"""Rows that are made to bring differences to light: drawn at large, and hostile by kind.

They are made of held-out rows, as a request or the feature store would give them, and pass through
preprocess like any other: a null only where the contract's policy lets nulls through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trivet.columns import Columns
from trivet.contract import Column

BASES = 3
"""Held-out rows in which each hostile value stands."""

_FLOATS: dict[str, tuple[float, ...]] = {
    "infinite": (np.inf, -np.inf),
    "extreme": (0.0, -0.0, 1e-300, -1e-40, 1e16, -1e30, 3.4e38, 1e300, -1e300),
}
_INTEGERS: dict[str, tuple[int, ...]] = {
    "extreme": (0, -1, 2**31, -(2**31) - 1, 2**53 + 1, -(2**62)),
}
_STRINGS = ("", " ", "unseen", "None", "nan", "0", "Ünbekannt ✈ 未知", "a" * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of one kind; `group` neighbours share what is hostile about them."""

    kind: str
    columns: Columns
    group: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))

    def part(self, start: int, end: int) -> Batch:
        """Return some of its rows."""
        columns = {name: values[start:end] for name, values in self.columns.items()}
        return Batch(kind=self.kind, columns=columns, group=self.group)


def draw(columns: Sequence[Column], held_out: Columns, count: int, seed: int = 0) -> Batch:
    """Draw rows within the held-out columns' ranges, each column by itself.

    A value is one of the column's own, or, for half of the numbers, lies between two of them.
    """
    random = np.random.default_rng(seed)
    rows = len(next(iter(held_out.values())))
    drawn = {}
    for column in columns:
        values = held_out[column.name]
        first, second = values[random.integers(0, rows, (2, count))]
        drawn[column.name] = first
        if column.dtype in ("float64", "int64"):
            share = random.uniform(0, 1, count) * random.integers(0, 2, count)
            between = first + share * (second - first)
            whole = np.round(between) if column.dtype == "int64" else between
            drawn[column.name] = whole.astype(values.dtype)
    return Batch(kind="drawn", columns=drawn, group=100)


def hostile(columns: Sequence[Column], held_out: Columns, seed: int = 0) -> list[Batch]:
    """Make the batches `null`, `infinite`, `extreme` and `unseen`, as far as the dtypes have them."""
    random = np.random.default_rng(seed)
    changes: dict[str, list[tuple[str, npt.NDArray[Any]]]] = {}
    for column in columns:
        values = held_out[column.name]
        for kind, value in _hostile_values(column, values):
            bases = values[random.integers(0, len(values), BASES)].copy()
            bases[:] = value
            changes.setdefault(kind, []).append((column.name, bases))
    return [_batch(kind, held_out, changed, random) for kind, changed in changes.items()]


def _hostile_values(column: Column, values: npt.NDArray[Any]) -> Iterator[tuple[str, Any]]:
    if column.absent == "null":
        yield "null", {"string": None, "timestamp": np.datetime64("NaT")}.get(column.dtype, np.nan)
    if column.dtype == "float64":
        for kind, numbers in _FLOATS.items():
            yield from ((kind, number) for number in numbers)
        yield from (("extreme", _finite(values) + step) for step in (0.5, -0.25))
    elif column.dtype == "int64":
        yield from (("extreme", number) for number in _INTEGERS["extreme"])
    elif column.dtype == "bool":
        yield from (("extreme", value) for value in (False, True))
    elif column.dtype == "timestamp":
        days = ("0001-01-01", "1970-01-01", "2100-02-28T23:59:59.999999", "9999-12-31")
        yield from (("extreme", np.datetime64(day, "us")) for day in days)
    elif column.dtype == "string":
        yield from (("unseen", text) for text in _texts(values))


def _finite(values: npt.NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[0]) if len(finite) else 0.0


def _texts(values: npt.NDArray[Any]) -> Iterator[str]:
    yield from _STRINGS
    known = next((value for value in values if value), None)
    if known is not None:  # an encoder must not take these for the category that they resemble
        yield from (f"{known} ", f" {known}", f"{known}\0", known.swapcase(), known[:-1])


def _batch(
    kind: str,
    held_out: Columns,
    changed: list[tuple[str, npt.NDArray[Any]]],
    random: np.random.Generator,
) -> Batch:
    """Put each change into rows of its own."""
    rows = len(next(iter(held_out.values())))
    chosen = random.integers(0, rows, BASES * len(changed))
    columns = {name: values[chosen] for name, values in held_out.items()}
    for number, (name, values) in enumerate(changed):
        columns[name][number * BASES : (number + 1) * BASES] = values
    return Batch(kind=kind, columns=columns, group=BASES)
