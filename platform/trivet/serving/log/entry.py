"""What a batch leaves for the log: references to what it holds already, and nothing made for it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from trivet.columns import Columns
from trivet.contract import Contract
from trivet.features.values import AbsentValue, Features
from trivet.serving.asking import Asked


@dataclass(slots=True, kw_only=True)
class Answered:
    """One answered request of a batch; its rows follow those of the request before it."""

    request_id: str
    route: str
    """How it was asked for: `champion`, `version/3` or `alias/challenger`."""
    rows: int
    validate_seconds: float
    features_seconds: float
    """From the end of validation until its features were in place, waiting included."""
    total_seconds: float
    kept: bool = True
    """Whether it counts: nobody waited any more for one that is not, or the sample leaves it out."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """A batch of answered requests; nobody changes it, but a frozen one takes longer to make."""

    requests: list[Answered]
    asked_at: datetime
    contract: Contract
    digest: str
    version: int
    asked: Asked
    features: Features
    """As the store gave them, before overrides and defaults."""
    absent: tuple[AbsentValue, ...]
    """What was absent for the model: without the values that the caller gave instead."""
    columns: Columns
    """What the model got: the only place that has what on-demand views computed."""
    predictions: list[dict[str, Any]]
    seconds: dict[str, float]
    """Of the steps that the whole batch went through at once."""

    @property
    def rows(self) -> int:
        """How many rows of it are logged."""
        return sum([request.rows for request in self.requests if request.kept])


def sample(entry: Entry, share: float) -> None:
    """Leave out the requests beyond a share.

    The id alone decides: all rows of a request or none, and the same in every replica.
    """
    if share < 1:
        for request in entry.requests:
            request.kept = request.kept and zlib.crc32(request.request_id.encode()) < share * 2**32


class Counts(Protocol):
    """Counts rows; `trivet.serving.metrics.Metrics` in a service."""

    def logged(self, rows: int) -> None:
        """Count rows that were flushed."""
        ...

    def unlogged(self, rows: int, reason: str) -> None:
        """Count rows that were lost: `queue`, `disk`, `unfit` or `process`."""
        ...


class Log(Protocol):
    """Takes entries; `trivet.serving.log.sender.LogSender` in a service."""

    def record(self, entry: Entry) -> None:
        """Take a batch of answered requests; neither waits nor raises."""
        ...
