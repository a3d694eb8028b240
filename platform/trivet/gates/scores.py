"""Metrics of a version on held-out rows, computed the same way for every version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from trivet.columns import to_columns
from trivet.contract import Column, Contract, Default, Regression
from trivet.registry.evaluation import LABEL
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output

_BATCH = 1_000


def score_held_out(contract: Contract, pipeline: Pipeline, file: Path) -> dict[str, float]:
    """Predict held-out rows and score them; a metric that they do not allow is left out.

    Args:
        contract: of the version.
        pipeline: of the version.
        file: Parquet with the contract's columns, and the truth as `trivet:label`.
    """
    table = pq.read_table(file)
    truth = table[LABEL].to_numpy()
    parts = [
        pipeline.predictor.predict(pipeline.prepare(_columns(contract, part)))
        for part in _parts(table)
    ]
    raw = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = (
        _regression(truth, raw)
        if isinstance(contract.output, Regression)
        else _classification(truth, raw)
    )
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _classification(truth: npt.NDArray[Any], raw: Output) -> Mapping[str, float]:
    predicted, probabilities = raw["label"], raw["probabilities"]
    classes = list(range(probabilities.shape[1]))
    found = {
        "accuracy": accuracy_score(truth, predicted),
        "f1_macro": f1_score(truth, predicted, average="macro", zero_division=0),
        "log_loss": log_loss(truth, probabilities, labels=classes),
    }
    if len(np.unique(truth)) == len(classes):  # else there is no area under some curve
        found["auc_macro"] = (
            roc_auc_score(truth, probabilities[:, 1])
            if len(classes) == 2  # noqa: PLR2004 - two classes have one curve
            else roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
        )
    return found


def _regression(truth: npt.NDArray[Any], raw: Output) -> Mapping[str, float]:
    value = raw["value"]
    return {
        "mae": mean_absolute_error(truth, value),
        "rmse": root_mean_squared_error(truth, value),
        "r2": r2_score(truth, value),
    }


def _parts(table: pa.Table) -> list[pa.Table]:
    return [table.slice(start, _BATCH) for start in range(0, len(table), _BATCH)]


def _columns(contract: Contract, part: pa.Table) -> dict[str, npt.NDArray[Any]]:
    values = {column.name: _values(column, part[column.name]) for column in contract.columns}
    return to_columns(contract.columns, values)


def _values(column: Column, stored: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = stored.to_pylist()
    if isinstance(column.absent, Default):
        return [column.absent.default if value is None else value for value in values]
    return values
