"""The steps of one version on columns: preprocess, predict, postprocess, each of them timed.

The same object runs in the service, at registration (for the golden rows) and in batch jobs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from trivet.columns import Columns, from_json, to_columns, to_json
from trivet.contract import Classification, Contract, GoldenRow, Regression
from trivet.errors import PredictionFailed, VersionCorrupt
from trivet.runtime.predictor import Output, Predictor
from trivet.runtime.steps import (
    Postprocess,
    PredictionColumns,
    Preprocess,
    load_postprocess,
    load_preprocess,
)

PREPROCESS = Path("trivet/preprocess.py")
POSTPROCESS = Path("trivet/postprocess.py")
"""Where a version's folder holds its code steps; a version may have neither, one, or both."""

GOLDEN_TOLERANCE = 1e-5
"""Largest relative difference of a golden row's numbers: another machine may round differently."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The predictions for n rows, in their order, and the seconds that each step took."""

    predictions: list[dict[str, Any]]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedColumns:
    """The predictions for n rows as columns, for those who need no document a row."""

    raw: Output
    """What the model gave."""
    named: PredictionColumns
    """What postprocess made of it; n values a field."""


class Pipeline:
    """Preprocess, predictor and postprocess of one version."""

    def __init__(
        self,
        predictor: Predictor,
        output: Classification | Regression,
        *,
        preprocess: Preprocess | None = None,
        postprocess: Postprocess | None = None,
    ) -> None:
        """Join the steps; a missing preprocess passes columns on, a missing postprocess names them."""
        self.predictor = predictor
        self._preprocess = preprocess or (lambda columns: columns)
        self._postprocess = postprocess or (lambda raw: name_output(raw, output))

    @classmethod
    def load(
        cls, folder: Path, predictor: Predictor, output: Classification | Regression
    ) -> Pipeline:
        """Join a predictor with the code steps in a version's folder."""
        before, after = folder / PREPROCESS, folder / POSTPROCESS
        return cls.from_code(
            before if before.exists() else None,
            after if after.exists() else None,
            predictor,
            output,
        )

    @classmethod
    def from_code(
        cls,
        preprocess: Path | None,
        postprocess: Path | None,
        predictor: Predictor,
        output: Classification | Regression,
    ) -> Pipeline:
        """Join a predictor with code steps wherever their files lie; they live as long as it does."""
        return cls(
            predictor,
            output,
            preprocess=None if preprocess is None else load_preprocess(preprocess, predictor),
            postprocess=None if postprocess is None else load_postprocess(postprocess, predictor),
        )

    def prepare(self, columns: Columns) -> Columns:
        """Run preprocess alone: the columns that the model takes."""
        return _step("preprocess", self._preprocess, columns)[0]

    def run(self, columns: Columns) -> Predicted:
        """Predict n rows from the contract's columns.

        Raises:
            PredictionFailed: a step raised, or returned another number of rows; it names the step.
        """
        rows = len(next(iter(columns.values())))
        prepared, preprocess = _step("preprocess", self._preprocess, columns)
        raw, predict = _step("predict", self.predictor.predict, prepared)
        named, shaping = _step("postprocess", self._postprocess, raw)
        predictions, laying_out = _step("postprocess", _rows, named)
        if len(predictions) != rows:
            cause = ValueError(f"{rows} rows went in, {len(predictions)} came out")
            raise PredictionFailed("postprocess", cause)
        seconds = {
            "preprocess": preprocess,
            "predict": predict,
            "postprocess": shaping + laying_out,
        }
        return Predicted(predictions=predictions, seconds=seconds)

    def run_columns(self, columns: Columns) -> PredictedColumns:
        """Predict n rows as `run` does, and leave the answers columns.

        Raises:
            PredictionFailed: as for `run`.
        """
        rows = len(next(iter(columns.values())))
        prepared, _ = _step("preprocess", self._preprocess, columns)
        raw, _ = _step("predict", self.predictor.predict, prepared)
        named, _ = _step("postprocess", self._postprocess, raw)
        if any(length != rows for length in _lengths(named)):
            cause = ValueError(f"{rows} rows went in, another number came out")
            raise PredictionFailed("postprocess", cause)
        return PredictedColumns(raw=raw, named=named)

    def name(self, raw: Output) -> PredictionColumns:
        """Run postprocess alone.

        Raises:
            PredictionFailed: it raised.
        """
        return _step("postprocess", self._postprocess, raw)[0]


def name_output(raw: Output, output: Classification | Regression) -> PredictionColumns:
    """Name a raw output as the contract does, where a version brings no postprocess of its own."""
    if isinstance(output, Regression):
        return {"value": raw["value"]}
    probabilities = raw["probabilities"]
    return {
        "class_id": raw["label"],
        "class_name": np.array(output.classes, dtype=object)[raw["label"]],
        "confidence": probabilities.max(axis=1),
        "probabilities": {name: probabilities[:, i] for i, name in enumerate(output.classes)},
    }


def verify_golden_rows(pipeline: Pipeline, contract: Contract) -> None:
    """Predict the contract's golden rows, which also warms the runtime.

    Raises:
        VersionCorrupt: an answer is not the stored one; the sentence says which and how.
    """
    if not contract.golden:
        return
    found = pipeline.run(golden_columns(contract)).predictions
    for number, (row, prediction) in enumerate(zip(contract.golden, found, strict=True)):
        if fault := _unlike(row.prediction, prediction):
            raise VersionCorrupt(f"{contract.model}: golden row {number} gives another {fault}.")


def golden_columns(contract: Contract) -> dict[str, npt.NDArray[Any]]:
    """Return the golden rows as the columns that preprocess takes."""
    values = {
        column.name: [from_json(column.dtype, row.features[column.name]) for row in contract.golden]
        for column in contract.columns
    }
    return to_columns(contract.columns, values)


def golden_row(**parts: Any) -> GoldenRow:
    """Make a golden row of numpy and Python values, as JSON has them."""
    return GoldenRow(**{name: _plain(part) for name, part in parts.items()})


def _step(name: str, function: Callable[[Any], T], argument: Any) -> tuple[T, float]:
    started = time.perf_counter()
    try:
        result = function(argument)
    except Exception as err:
        raise PredictionFailed(name, err) from err
    return result, time.perf_counter() - started


def _rows(columns: PredictionColumns) -> list[dict[str, Any]]:
    """Turn columns into rows of JSON values; NaN becomes null."""
    lists = {name: _values(column) for name, column in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _values(column: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]) -> list[Any]:
    if isinstance(column, Mapping):
        return _rows(column)
    if column.dtype.kind == "f":
        return [None if math.isnan(value) else value for value in column.tolist()]
    if column.dtype.kind == "M":
        return [to_json(value) for value in column]
    return list(column.tolist())


def _lengths(columns: PredictionColumns) -> Iterator[int]:
    for column in columns.values():
        if isinstance(column, Mapping):
            yield from _lengths(column)
        else:
            yield len(column)


def _unlike(expected: Any, found: Any, where: str = "prediction") -> str | None:
    """Say where two predictions differ, or None; numbers may differ by the golden tolerance."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"set of fields: {sorted(found)} where {sorted(expected)} was stored"
        faults = (_unlike(expected[key], found[key], key) for key in expected)
        return next((fault for fault in faults if fault), None)
    if isinstance(expected, float) and isinstance(found, int | float):
        allowed = GOLDEN_TOLERANCE * max(1.0, abs(expected))
        return None if abs(expected - found) <= allowed else f"{where}: {found} for {expected}"
    return None if expected == found else f"{where}: {found!r} for {expected!r}"


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _plain(value) for key, value in part.items()}
    return part if isinstance(part, list | tuple) else to_json(part)
