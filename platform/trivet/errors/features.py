"""Why definitions of features are not applied."""

from __future__ import annotations

from collections.abc import Sequence

from trivet.errors.base import TrivetError


class BadDefinitions(TrivetError):
    """The definitions in the feature repository cannot be applied."""

    title = "Bad definitions"


class ApplyRefused(TrivetError):
    """Applying the definitions would break a version that answers."""

    title = "Apply refused"

    def __init__(self, broken: Sequence[str]) -> None:
        """`broken`: such as 'flight_delay version 2'; at least one."""
        super().__init__(
            f"It would break what is live: {', '.join(broken)}. Nothing was changed.",
            hint="Keep what it relies on until another version is live, or say --force --reason WHY.",
        )
