"""What a read of features gives; free of Feast, for those who only pass it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from trivet.contract import Column

Why = Literal["missing", "expired", "null"]
"""An unknown entity or unwritten value; one older than its TTL; one that was stored as null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentValue:
    """One value that the store could not give."""

    row: int
    column: Column
    why: Why
    age_seconds: float | None
    """Age of an expired or null value; None where there is none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Values by column name, n each and None where absent, and what is absent and why."""

    values: dict[str, list[Any]]
    absent: tuple[AbsentValue, ...]
    event_times: dict[str, list[datetime | None]] = field(default_factory=dict)
    """By feature view: when each row's values were known; None where there are none at all."""
