"""The held-out rows of a version, kept with its run so that another version can be measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trivet.contract import Classification, Regression
from trivet.errors import BadSetting
from trivet.registry.evaluation import LABEL
from trivet.training.digest import TableDigest

MOST_ROWS = 20_000
"""Rows that are kept, spread over all: enough to tell an AUC to 0.01, and a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What was kept."""

    digest: str
    """Over all rows with their labels, kept or not."""
    rows: int
    """How many there were."""
    file: Path


def keep_held_out(
    frame: pd.DataFrame,
    labels: npt.ArrayLike,
    output: Classification | Regression,
    folder: Path,
) -> HeldOut:
    """Write held-out rows and what was to be predicted of them as Parquet.

    Args:
        frame: n rows; a column that Parquet has no type for is left out.
        labels: n class ids 0..k-1, or n values.
        output: of the contract.
        folder: where the file is written.

    Raises:
        BadSetting: the labels are not of the output, or not as many as the rows.
    """
    table = _table(frame).append_column(LABEL, pa.array(_checked(labels, output, len(frame))))
    digest = TableDigest()
    digest.update(table)
    chosen = np.unique(np.linspace(0, len(frame) - 1, min(MOST_ROWS, len(frame))).astype(int))
    file = folder / "held_out.parquet"
    pq.write_table(table.take(chosen), file)
    return HeldOut(digest=digest.hexdigest(), rows=len(frame), file=file)


def _table(frame: pd.DataFrame) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name in frame:
        try:
            columns[str(name)] = pa.Array.from_pandas(frame[name])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            continue
    return pa.table(columns)


def _checked(
    labels: npt.ArrayLike, output: Classification | Regression, rows: int
) -> npt.NDArray[Any]:
    truth = np.asarray(labels)
    if truth.shape != (rows,):
        raise BadSetting(f"{rows:,} held-out rows have labels of the shape {truth.shape}.")
    if isinstance(output, Regression):
        return truth.astype(np.float64)
    classes = len(output.classes)
    if truth.dtype.kind not in "iub" or ((truth < 0) | (truth >= classes)).any():
        raise BadSetting(
            "The labels of a classifier's held-out rows are class ids: whole numbers "
            f"from 0 to {classes - 1}."
        )
    return truth.astype(np.int64)
