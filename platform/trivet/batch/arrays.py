"""Arrow columns as the arrays of `trivet.columns`, without a Python value a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trivet.contract import Column


def to_array(column: Column, values: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return n settled values of a column as preprocess gets them.

    Args:
        column: of the contract.
        values: n values of the dtype's Arrow type; null only where the policy lets nulls through.
    """
    if column.dtype == "string":
        texts: npt.NDArray[Any] = values.to_numpy().astype(object, copy=False)
        return texts
    if column.dtype == "timestamp":
        moments = values.cast(pa.timestamp("us")).to_numpy()
        return np.asarray(moments, dtype="datetime64[us]")
    if column.dtype == "float64" or column.absent == "null":
        # Not safe: a whole number beyond 2**53 becomes the nearest float, as Python has it too.
        numbers = values.cast(pa.int8()) if column.dtype == "bool" else values
        floats = numbers.cast(pa.float64(), safe=False).to_numpy()
        return np.asarray(floats, dtype=np.float64)
    return np.asarray(values.to_numpy(), dtype=np.int64 if column.dtype == "int64" else np.bool_)
