"""Rows at a model's thresholds: on either side of where a tree changes its mind, and just beside.

A threshold belongs to a feature that the pipeline computes, and a row has the columns before it. So
the place is found by bisection: for a split and a column that moves its feature, the two
neighbouring values of the column between which the comparison turns, whatever scales or casts
between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trivet.columns import Columns
from trivet.runtime.adversarial import Batch
from trivet.runtime.trees import Splits, read_splits

SPLITS = 300
"""Of a model's splits so many are visited, spread over its features."""

Features = Callable[[dict[str, npt.NDArray[Any]]], npt.NDArray[Any]]
"""Computes from n rows what the trees see, [n, features]."""

_TURNS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda values, at: values.astype(np.float64) <= at,
    lambda values, at: values.astype(np.float32) <= at.astype(np.float32),
    lambda values, at: values.astype(np.float32) < at.astype(np.float32),
)
"""How trees compare: as doubles, or as float32; XGBoost by less than, the others by at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tasks:
    """What is searched for: one split, one column and one row each; arrays of shape [tasks]."""

    features: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    columns: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]
    turns: npt.NDArray[np.int64]

    def __getitem__(self, chosen: npt.NDArray[Any]) -> _Tasks:
        parts = (self.features, self.thresholds, self.columns, self.rows, self.turns)
        features, thresholds, columns, rows, turns = (part[chosen] for part in parts)
        return _Tasks(
            features=features, thresholds=thresholds, columns=columns, rows=rows, turns=turns
        )


def at_thresholds(estimator: Any, rows: Columns, seed: int = 0) -> Batch | None:
    """Make rows at the thresholds of a pipeline's last step; None where it has no trees.

    Args:
        estimator: fitted pipeline, or a model by itself.
        rows: held-out rows as preprocess returns them.
        seed: of the choice of splits, columns and rows.
    """
    steps = [step for _, step in getattr(estimator, "steps", [("model", estimator)])]
    splits = read_splits(steps[-1])
    if not len(splits):
        return None
    search = _Search(_features(steps[:-1]), rows, np.random.default_rng(seed))
    return search.run(splits)


def _features(steps: list[Any]) -> Features:
    import pandas as pd

    def features(columns: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        values: Any = pd.DataFrame(columns)
        for step in steps:
            values = step.transform(values)
        return np.asarray(values.toarray() if hasattr(values, "toarray") else values)

    return features


class _Search:
    """Bisects over all tasks at once."""

    def __init__(self, features: Features, rows: Columns, random: np.random.Generator) -> None:
        self._features = features
        self._rows = rows
        self._random = random
        self._count = len(next(iter(rows.values())))
        self._ranges = {
            name: found
            for name, values in rows.items()
            if values.dtype.kind in "fi" and (found := _range(values)) is not None
        }

    def run(self, splits: Splits) -> Batch | None:
        tasks = self._tasks(splits)
        if tasks is None:
            return None
        low, high = (self._bounds(tasks, end) for end in (0, 1))
        before = self._side(tasks, low)
        crossing = before != self._side(tasks, high)
        tasks, low, high, before = tasks[crossing], low[crossing], high[crossing], before[crossing]
        while (open_ := high - 1 > low).any():
            middle = (low & high) + ((low ^ high) >> 1)
            same = self._side(tasks, middle) == before
            low, high = (np.where(open_ & same, middle, low), np.where(open_ & ~same, middle, high))
        return self._beside(tasks, low, high)

    def _tasks(self, splits: Splits) -> _Tasks | None:
        """Choose splits, and for each a column that moves its feature."""
        chosen = self._random.permutation(len(splits))[:SPLITS]
        movers = self._movers()
        found = [
            (split, movers[feature][self._random.integers(len(movers[feature]))])
            for split in chosen
            if movers.get(feature := int(splits.features[split]))
        ]
        if not found:
            return None
        indices = np.tile([split for split, _ in found], len(_TURNS))
        return _Tasks(
            features=splits.features[indices],
            thresholds=splits.thresholds[indices],
            columns=np.tile([column for _, column in found], len(_TURNS)),
            rows=np.tile(self._random.integers(0, self._count, len(found)), len(_TURNS)),
            turns=np.repeat(np.arange(len(_TURNS)), len(found)),
        )

    def _movers(self) -> dict[int, list[str]]:
        """Find, for each feature, the columns that move it from one end of their range to the other."""
        names = list(self._ranges)
        row = np.zeros(2 * len(names), dtype=np.int64)
        columns = {name: values[row].copy() for name, values in self._rows.items()}
        for number, name in enumerate(names):
            columns[name][2 * number : 2 * number + 2] = self._ranges[name]
        seen = self._features(columns)
        moved = seen[0::2] != seen[1::2]
        return {
            feature: [names[n] for n in np.flatnonzero(moved[:, feature])]
            for feature in range(seen.shape[1])
        }

    def _bounds(self, tasks: _Tasks, end: int) -> npt.NDArray[np.int64]:
        bounds = np.empty(len(tasks.rows), dtype=np.int64)
        for name in np.unique(tasks.columns):
            values = np.array([self._ranges[name][end]], dtype=self._rows[name].dtype)
            bounds[tasks.columns == name] = _to_places(values)[0]
        return bounds

    def _side(self, tasks: _Tasks, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Say on which side of its split each row is, with its column's value at a place."""
        seen = self._features(self._filled(tasks, places))
        values = seen[np.arange(len(places)), tasks.features]
        side = np.empty(len(places), dtype=np.bool_)
        for number, turn in enumerate(_TURNS):
            these = tasks.turns == number
            side[these] = turn(values[these], tasks.thresholds[these])
        return side

    def _filled(self, tasks: _Tasks, places: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        columns = {name: values[tasks.rows].copy() for name, values in self._rows.items()}
        for name in np.unique(tasks.columns):
            these = tasks.columns == name
            columns[name][these] = _from_places(places[these], columns[name].dtype)
        return columns

    def _beside(
        self, tasks: _Tasks, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
    ) -> Batch:
        """Take both sides, and one step further as doubles and as float32."""
        floats = np.array([self._rows[name].dtype.kind == "f" for name in tasks.columns])
        places = [low, high, low - 1, high + 1]
        single = _from_places(np.where(floats, low, 0), np.dtype(np.float64)).astype(np.float32)
        beside = (np.nextafter(single, np.float32(end)) for end in (-np.inf, np.inf))
        for value in (single, *beside):
            places += [np.where(floats, _to_places(value.astype(np.float64)), low)]
        parts = [self._filled(tasks, place) for place in places]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in self._rows}
        return Batch(kind="threshold", columns=columns, group=100)


def _range(values: npt.NDArray[Any]) -> tuple[Any, Any] | None:
    """Return a column's range, widened by itself on both sides; None where it has no two values."""
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() == finite.max():
        return None
    low, high = finite.min(), finite.max()
    return low - (high - low), high + (high - low)


def _to_places(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Number the values of a dtype in their order: neighbours have neighbouring places."""
    if values.dtype.kind == "i":
        return values.astype(np.int64)
    bits = values.astype(np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(np.iinfo(np.int64).min) - bits, bits)


def _from_places(places: npt.NDArray[np.int64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "i":
        return places.astype(dtype)
    bits = np.where(places < 0, np.int64(np.iinfo(np.int64).min) - places, places)
    return bits.view(np.float64).astype(dtype)
