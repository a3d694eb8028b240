"""What of a stored row may be used: the time to live, held against the moment of the request."""

from __future__ import annotations

from collections.abc import Sequence

from trivet.contract import Column, View
from trivet.features.values import AbsentValue, Features, StoredRow, Why

_MICROSECONDS = 1_000_000


class ViewJudge:
    """The rule of one feature view."""

    def __init__(self, view: View, columns: Sequence[Column]) -> None:
        """Take the TTL in the unit that moments are compared in."""
        self._view = view.name
        self._columns = columns
        self._names = [column.name for column in columns]
        self._ttl = None if view.ttl_seconds is None else round(view.ttl_seconds * _MICROSECONDS)
        self._nothing = (None,) * len(columns)

    def __call__(self, rows: Sequence[StoredRow], at: int) -> Features:
        """Return the columns of n rows: a value counts up to its TTL, the limit itself included."""
        usable, absent = [], []
        ttl = self._ttl
        for number, row in enumerate(rows):
            if row.known is None or (ttl is not None and at - row.known > ttl):
                usable.append(self._nothing)
                absent += self._absent(number, row, at, range(len(self._columns)))
            else:
                usable.append(row.values)
                if row.nulls:
                    absent += self._absent(number, row, at, row.nulls)
        columns = map(list, zip(*usable, strict=True)) if self._names else ()
        return Features(
            values=dict(zip(self._names, columns, strict=True)),
            absent=tuple(absent),
            known={self._view: [row.known for row in rows]},
            read={self._view: [row.read for row in rows]},
        )

    def _absent(
        self, number: int, row: StoredRow, at: int, positions: Sequence[int]
    ) -> list[AbsentValue]:
        """Return what a row cannot give: nothing is known, all has expired, or some of it is null."""
        age = None if row.known is None else at - row.known
        why: Why = "null"
        if age is None:
            why = "missing"
        elif self._ttl is not None and age > self._ttl:
            why = "expired"
        seconds = None if age is None else age / _MICROSECONDS
        return [
            AbsentValue(row=number, column=self._columns[n], why=why, age_seconds=seconds)
            for n in positions
        ]


def together(parts: Sequence[Features]) -> Features:
    """Return the features of the same rows from several views as one."""
    return Features(
        values={name: values for part in parts for name, values in part.values.items()},
        absent=tuple(value for part in parts for value in part.absent),
        known={view: moments for part in parts for view, moments in part.known.items()},
        read={view: moments for part in parts for view, moments in part.read.items()},
    )
