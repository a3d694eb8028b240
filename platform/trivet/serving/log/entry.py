"""What a request leaves for the log: references to what it holds already, and nothing made for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from trivet.columns import Columns
from trivet.contract import Contract
from trivet.features.values import AbsentValue, Features
from trivet.serving.asking import Asked


@dataclass(slots=True, kw_only=True)
class Entry:
    """One answered request; nobody changes it, but a frozen one takes three times as long to make."""

    request_id: str
    asked_at: datetime
    contract: Contract
    digest: str
    version: int
    route: str
    """How it was asked for: `champion`, `version/3` or `alias/challenger`."""
    asked: Asked
    features: Features
    """As the store gave them, before overrides and defaults."""
    absent: tuple[AbsentValue, ...]
    """What was absent for the model: without the values that the caller gave instead."""
    columns: Columns
    """What the model got: the only place that has what on-demand views computed."""
    predictions: list[dict[str, Any]]
    seconds: dict[str, float]
    total_seconds: float


class Log(Protocol):
    """Takes entries; `trivet.serving.log.writer.PredictionLog` in a service."""

    def record(self, entry: Entry) -> None:
        """Take one answered request; neither waits nor raises."""
        ...
