"""Counts and examples of what was replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from trivet import logged
from trivet.observe.skew.causes import CAUSES, EXCUSED, NEVER, Cause
from trivet.observe.skew.replay import Replayed
from trivet.observe.skew.served import LoggedRows
from trivet.observe.skew.values import moments

_EXAMPLES = 3
"""Kept of each cause of each column: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSkew:
    """One column over all replayed rows."""

    column: str
    source: str
    compared: int
    same: int
    causes: Mapping[Cause, int]
    """Differences by cause, in the order of `Cause`; those that occur."""

    @property
    def skewed(self) -> int:
        """Differences that are no override, no cache and no lag."""
        return sum(count for cause, count in self.causes.items() if cause not in EXCUSED)

    @property
    def share(self) -> float:
        """Of the compared values, how many are skewed."""
        return self.skewed / self.compared if self.compared else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One difference."""

    column: str
    cause: Cause
    asked_at: datetime
    request_id: str
    row: int
    version: int
    keys: Mapping[str, Any]
    """By which its view is read; of a computed column, all of the row's."""
    served: Any
    """What the model got."""
    offline: Any
    status: str
    """What the online store had: a name of `logged.Status`, in small letters."""
    served_event: datetime | None
    """When the served value was known; None for what is computed or was not there."""
    offline_event: datetime | None


@dataclass(slots=True, kw_only=True)
class Tally:
    """Adds up columns over the contracts of a log."""

    _compared: Counter[str] = field(default_factory=Counter)
    _causes: dict[str, Counter[Cause]] = field(default_factory=dict)
    _sources: dict[str, str] = field(default_factory=dict)
    _examples: list[Example] = field(default_factory=list)

    def add(self, rows: LoggedRows, replayed: Mapping[str, Replayed]) -> None:
        """Count the columns of one contract's rows, and keep examples."""
        for name, column in replayed.items():
            self._sources[name] = column.served.column.source
            self._compared[name] += len(rows)
            counts = self._causes.setdefault(name, Counter())
            for number, cause in enumerate(CAUSES):
                found = np.flatnonzero(column.codes == number)
                if len(found):
                    counts[cause] += len(found)
                    self._examples += _examples(rows, column, cause, found[-_EXAMPLES:])

    def columns(self) -> tuple[ColumnSkew, ...]:
        """Return what was counted, in the order in which columns first came."""
        return tuple(
            ColumnSkew(
                column=name,
                source=self._sources[name],
                compared=compared,
                same=compared - self._causes[name].total(),
                causes={c: self._causes[name][c] for c in CAUSES if self._causes[name][c]},
            )
            for name, compared in self._compared.items()
        )

    def examples(self) -> tuple[Example, ...]:
        """Return the newest of each cause of each column, those that count first."""
        kept: dict[tuple[Cause, str], list[Example]] = {}
        for one in sorted(self._examples, key=lambda one: one.asked_at, reverse=True):
            of_both = kept.setdefault((one.cause, one.column), [])
            if len(of_both) < _EXAMPLES:
                of_both.append(one)
        order = sorted(kept, key=lambda key: (key[0] in EXCUSED, CAUSES.index(key[0])))
        return tuple(one for key in order for one in kept[key])


def _examples(
    rows: LoggedRows, column: Replayed, cause: Cause, found: np.ndarray[Any, Any]
) -> Iterator[Example]:
    chosen = pa.array(found)
    told = rows.table.select(
        [logged.LOG_TIMESTAMP, logged.REQUEST_ID, logged.ROW, logged.VERSION]
    ).take(chosen)
    keys = rows.keys_of(column.served.column).take(chosen).to_pylist()
    served, offline = (a.take(chosen).to_pylist() for a in (column.served.got, column.offline))
    view = column.served.column.view
    nothing = np.full(len(rows), NEVER)
    events = [nothing if view is None else rows.events(view), column.event]
    known = [moments(nothing[found] if e is None else e[found]).to_pylist() for e in events]
    for number, (row, values) in enumerate(zip(told.to_pylist(), keys, strict=True)):
        yield Example(
            column=column.served.column.name,
            cause=cause,
            asked_at=row[logged.LOG_TIMESTAMP],
            request_id=row[logged.REQUEST_ID],
            row=row[logged.ROW],
            version=row[logged.VERSION],
            keys=values,
            served=served[number],
            offline=offline[number],
            status=logged.Status(int(column.served.status[found[number]])).name.lower(),
            served_event=known[0][number],
            offline_event=known[1][number],
        )
