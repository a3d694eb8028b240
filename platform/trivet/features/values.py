"""What a read of features gives; free of Feast, for those who only pass it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias

from trivet.contract import Column

Why = Literal["missing", "expired", "null"]
"""An unknown entity or unwritten value; one older than its TTL; one that was stored as null."""

Keys: TypeAlias = Mapping[str, Sequence[Any]]
"""n values for every join key, by its name."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True, kw_only=True)
class StoredRow:
    """One entity's row of one feature view, decoded; nobody changes it, and a cache may share it.

    Moments are whole microseconds since 1970: they are compared for every row of every request.
    """

    values: tuple[Any, ...]
    """One a column, in the columns' order; None for a null."""
    known: int | None
    """The row's event timestamp; None where the store has no such row."""
    read: int
    """When it was read from the store."""
    nulls: tuple[int, ...] = ()
    """The positions in `values` that are null."""


Found: TypeAlias = Sequence[Sequence[StoredRow]]
"""For each feature view of a reader, in its order, the rows of n entities."""


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
    known: dict[str, list[int | None]] = field(default_factory=dict)
    """By feature view: each row's event timestamp in microseconds; None where there is none at all."""
    read: dict[str, list[int]] = field(default_factory=dict)
    """By feature view: when each row was read from the store, in microseconds; a cache may be older."""

    @property
    def event_times(self) -> dict[str, list[datetime | None]]:
        """By feature view: when each row's values were known, as aware moments in UTC."""
        return {
            view: [None if moment is None else from_microseconds(moment) for moment in moments]
            for view, moments in self.known.items()
        }


class Reader(Protocol):
    """Reads a contract's feature columns; `trivet.features.reader.OnlineReader` in a service."""

    def recall(self, keys: Keys, at: datetime) -> Found | None:
        """Return the rows of n entities from the cache; None unless all of them are there."""
        ...

    def fetch(self, keys: Keys, at: datetime, *, anew: bool = False) -> Found:
        """Return the rows of n entities, from the store where the cache has none; it may block.

        `anew`: from the store in any case.
        """
        ...

    def judge(self, found: Found, at: datetime) -> Features:
        """Hold rows against their views' TTLs as of a moment."""
        ...


def to_microseconds(moment: datetime) -> int:
    """Return an aware moment as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(moment: int) -> datetime:
    """Return the aware moment, in UTC, of whole microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=moment)
