"""How one column's values are spread in training and in serving, over bins or values of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trivet.contract import Column
from trivet.observe.skew.values import converted

Shares: TypeAlias = npt.NDArray[np.float64]

_BINS = 24
_OUTER = 0.01
"""Share of the values at either end that may lie beyond the outer bins; they are counted in these."""
_VALUES = 8
"""Most values that get a bar each."""
_FEW = 12
"""Numbers that are as few as this are values, and not a range."""
OTHERS = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Shares of one side's rows; they and `absent` add up to 1."""

    rows: int
    shares: Shares
    absent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One column on both sides."""

    column: str
    serving: Spread
    training: Spread | None
    """None where there is no training set to compare with."""
    edges: Shares | None = None
    """Of the bins of a range of numbers, one more than there are shares."""
    values: tuple[str, ...] = ()
    """Named ones, where it is no range: the most frequent first, or numbers in their order."""

    @property
    def distance(self) -> float:
        """The share of rows that would have to be elsewhere: 0 for the same, 1 for nothing shared.

        The total variation distance, an absent value being a place of its own.
        """
        if self.training is None:
            return 0.0
        moved = np.abs(self.serving.shares - self.training.shares).sum()
        return float(moved + abs(self.serving.absent - self.training.absent)) / 2


def compare_spread(
    column: Column, serving: pa.Array, training: pa.ChunkedArray | None
) -> Distribution:
    """Spread the values of both sides over the same places.

    Args:
        column: of any dtype but timestamp, of which no two are alike.
        serving: n values, null where absent.
        training: m values, likewise.
    """
    sides = [serving] if training is None else [serving, _known(column, training)]
    numbers = column.dtype in ("int64", "float64")
    distinct = pc.unique(pa.concat_arrays(sides)).drop_null()
    if numbers and len(distinct) > _FEW:
        return _ranged(column, [_floats(side) for side in sides])
    return _named(column, sides, in_order=numbers)


def _ranged(column: Column, sides: Sequence[Shares]) -> Distribution:
    present = [side[~np.isnan(side)] for side in sides]
    ends = [np.quantile(side, [_OUTER, 1 - _OUTER]) for side in present if len(side)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    spreads = [
        _spread(np.histogram(np.clip(some, edges[0], edges[-1]), edges)[0], len(side))
        for some, side in zip(present, sides, strict=True)
    ]
    return _distribution(column, spreads, edges=edges)


def _named(column: Column, sides: Sequence[pa.Array], *, in_order: bool) -> Distribution:
    counts = [_counts(side) for side in sides]
    shares: dict[Any, float] = {}
    for side, of in zip(sides, counts, strict=True):
        for value, count in of.items():
            shares[value] = shares.get(value, 0.0) + count / max(len(side), 1)
    kept = sorted(shares, key=lambda value: (-shares[value], str(value)))
    if in_order:
        kept = sorted(kept)
    elif len(kept) > _VALUES:
        kept = kept[: _VALUES - 1]
    rest = len(kept) < len(shares)
    spreads = []
    for side, of in zip(sides, counts, strict=True):
        found = [of.get(value, 0) for value in kept]
        spreads.append(_spread([*found, of.total() - sum(found)] if rest else found, len(side)))
    values = tuple(_text(value) for value in kept) + ((OTHERS,) if rest else ())
    return _distribution(column, spreads, values=values)


def _distribution(column: Column, spreads: Sequence[Spread], **places: Any) -> Distribution:
    training = spreads[1] if len(spreads) > 1 else None
    return Distribution(column=column.name, serving=spreads[0], training=training, **places)


def _spread(counts: npt.ArrayLike, rows: int) -> Spread:
    found = np.asarray(counts, dtype=np.int64)
    whole = max(rows, 1)
    return Spread(rows=rows, shares=found / whole, absent=(rows - int(found.sum())) / whole)


def _counts(side: pa.Array) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for one in pc.value_counts(side.drop_null()).to_pylist():
        counts[one["values"]] += one["counts"]  # added up: to Arrow 0.0 and -0.0 are two values
    return counts


def _known(column: Column, training: pa.ChunkedArray) -> pa.Array:
    whole = (
        pa.concat_arrays(training.chunks) if training.num_chunks else pa.array([], training.type)
    )
    return converted(column, whole)


def _floats(side: pa.Array) -> Shares:
    floats = side.cast(pa.float64(), safe=False).fill_null(float("nan"))
    return np.asarray(floats.to_numpy(zero_copy_only=False), dtype=np.float64)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
