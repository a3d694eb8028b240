"""Metrics of a version on held-out rows, computed the same way for every version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trivet.columns import to_columns
from trivet.contract import Column, Contract, Default
from trivet.registry.evaluation import LABEL
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.scores import score

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
    return score(contract.output, truth, raw)


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
