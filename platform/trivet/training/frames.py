"""DataFrames as the arrays of `trivet.columns`: what training sees is what serving will give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trivet.columns import Columns
from trivet.contract import Column
from trivet.errors import BadSetting


def to_columns(columns: Iterable[Column], frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Take a contract's columns from a frame, with the dtypes that serving has.

    Raises:
        BadSetting: a column is not there, or has nulls that its policy lets no request have.
    """
    return {column.name: _to_array(column, frame) for column in columns}


def to_frame(columns: Columns) -> pd.DataFrame:
    """Return preprocess's columns as the frame that an estimator is fitted on."""
    return pd.DataFrame(dict(columns))


def _to_array(column: Column, frame: pd.DataFrame) -> npt.NDArray[Any]:
    if column.name not in frame:
        raise BadSetting(f"The frame has no column {column.name}, which the contract names.")
    series = frame[column.name]
    absent = series.isna()
    if absent.any():
        series = _settle(column, series, int(absent.sum()))
    return _ARRAYS[column.dtype](series, column.absent == "null")


def _settle(column: Column, series: pd.Series[Any], count: int) -> pd.Series[Any]:
    if column.absent == "null":
        return series
    if column.absent == "reject":
        raise BadSetting(
            f"{column.name} is absent in {count:,} rows, and its policy is reject.",
            hint="Drop these rows, or declare the policy null or a default.",
        )
    return series.fillna(column.absent.default)


def _floats(series: pd.Series[Any], nullable: bool) -> npt.NDArray[Any]:
    del nullable
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _integers(series: pd.Series[Any], nullable: bool) -> npt.NDArray[Any]:
    return _floats(series, nullable) if nullable else series.to_numpy(dtype=np.int64)


def _booleans(series: pd.Series[Any], nullable: bool) -> npt.NDArray[Any]:
    return _floats(series, nullable) if nullable else series.to_numpy(dtype=np.bool_)


def _strings(series: pd.Series[Any], nullable: bool) -> npt.NDArray[Any]:
    del nullable
    return series.astype(object).where(series.notna(), None).to_numpy(dtype=object)


def _timestamps(series: pd.Series[Any], nullable: bool) -> npt.NDArray[Any]:
    del nullable
    return pd.to_datetime(series, utc=True).dt.tz_localize(None).to_numpy(dtype="datetime64[us]")


_ARRAYS = {
    "float64": _floats,
    "int64": _integers,
    "bool": _booleans,
    "string": _strings,
    "timestamp": _timestamps,
}
