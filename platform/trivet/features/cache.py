"""A bounded cache of what was read from the online store: rows of feature views, decoded.

It holds rows as they were stored, an unknown entity included, and no judgement: TTLs are enforced on
every use, and what a caller overrides is put over a row later and never comes in here. A row is given
for as long as the staleness that is allowed, counted from when it was read, so what is pushed or
materialized meanwhile is seen by every worker after that time at the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivet.features.values import StoredRow

_MICROSECONDS = 1_000_000


class RowCache:
    """The rows of one worker, by feature view and entity; one thread writes, any thread reads.

    Rows are kept in the order in which they were read, so the first one is the first to go: all
    have the same time to stay, and the least recently *read from the store* is the stalest.
    """

    def __init__(self, seconds: float, most: int) -> None:
        """Hold at most so many rows, each for so many seconds; 0 seconds: hold none."""
        self._stay = round(seconds * _MICROSECONDS)
        self._most = most
        self._tables: dict[tuple[str, ...], dict[Any, StoredRow]] = {}

    def table(self, project: str, view: str, features: Sequence[str]) -> CacheTable:
        """Return the part for some features of one view, which versions that read the same share."""
        rows = self._tables.setdefault((project, view, *features), {})
        return CacheTable(self, rows, self._stay)

    def make_room(self, coming: int) -> None:
        """Drop the stalest rows of the largest tables until so many more fit."""
        surplus = sum(map(len, self._tables.values())) + coming - self._most
        while surplus > 0:
            largest = max(self._tables.values(), key=len)
            drop = min(surplus, max(1, len(largest) // 8))
            for entity in list(largest)[:drop]:
                del largest[entity]
            surplus -= drop

    def __len__(self) -> int:
        """Return how many rows are held."""
        return sum(map(len, self._tables.values()))


class CacheTable:
    """The cached rows of one feature view."""

    def __init__(self, cache: RowCache, rows: dict[Any, StoredRow], stay: int) -> None:
        """Made by `RowCache.table`."""
        self._cache = cache
        self._rows = rows
        self._stay = stay

    def find(self, entities: Sequence[Any], at: int) -> list[StoredRow] | None:
        """Return the rows of n entities, in their order; None unless all are here and fresh enough.

        Args:
            entities: as `keep` was given them.
            at: the moment of the request, in microseconds. A row that was read after it counts as
                stale: the clock was set back, and would keep it for too long.
        """
        held, stay = self._rows, self._stay
        found = []
        for entity in entities:
            row = held.get(entity)
            if row is None or not 0 <= at - row.read < stay:
                return None
            found.append(row)
        return found

    def split(self, entities: Sequence[Any], at: int) -> tuple[dict[Any, StoredRow], list[Any]]:
        """Return the rows of those entities that are here and fresh enough, and the others once."""
        here: dict[Any, StoredRow] = {}
        others = []
        for entity in dict.fromkeys(entities):
            found = self.find((entity,), at)
            if found is None:
                others.append(entity)
            else:
                here[entity] = found[0]
        return here, others

    def keep(self, rows: dict[Any, StoredRow]) -> None:
        """Hold rows that were just read, by entity."""
        if not self._stay:
            return
        held = self._rows
        for entity in rows:
            held.pop(entity, None)  # so that it stands behind all that were read before
        self._cache.make_room(len(rows))
        held.update(rows)
