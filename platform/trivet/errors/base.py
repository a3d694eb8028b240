"""The root of the family, and how a difference is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class TrivetError(Exception):
    """The root of the family: a sentence, a hint, an HTTP status and an exit code."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "Internal error"

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        """Keep the sentence and the hint apart, so that each surface can lay them out its way."""
        super().__init__(sentence if hint is None else f"{sentence} {hint}")
        self.sentence = sentence
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One aspect of one column in which a contract and what Feast offers are not the same."""

    column: str
    aspect: str
    contract: str
    feast: str
