"""Read Arrow columns as a contract's dtypes, with what a service would refuse marked cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trivet.contract import DType
from trivet.errors import BadSetting
from trivet.features.question import ARROW

_FIRST, _LAST = -62_135_596_800, 253_402_300_800
"""The years 1 to 9999 in seconds since 1970: what Python has times for."""
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_WHOLE = 2.0**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """One column of n rows."""

    values: pa.Array
    """Of the dtype's Arrow type; null where there was none, or where it is no such value."""
    bad: npt.NDArray[np.bool_] | None = None
    """[n]: where there was a value that is not of the dtype; None: nowhere."""
    why: str = ""
    """What was expected, in the service's words."""


def check_type(what: str, dtype: DType, kind: pa.DataType) -> None:
    """See that a column's type can hold values of a dtype at all.

    Raises:
        BadSetting: it cannot; `what` names the column.
    """
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_null(plain) or any(fits(plain) for fits in _FITS[dtype])):
        hint = "pandas.to_datetime(..., utc=True) makes one." if dtype == "timestamp" else None
        raise BadSetting(f"{what} is of type {kind}, and {dtype} is needed.", hint=hint)


def read_cells(dtype: DType, values: pa.Array) -> Cells:
    """Return a column of a type that `check_type` let pass.

    NaN is what pandas makes of a null, and no value of its own. Times without a zone are UTC, and
    are cut to microseconds.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_null(values.type):
        return Cells(values=values.cast(ARROW[dtype]))
    if pa.types.is_floating(values.type):
        values = without_nan(values.cast(pa.float64()))
    return _READERS[dtype](values)


def without_nan(values: pa.Array) -> pa.Array:
    """Return floats with nulls for NaN."""
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _strings(values: pa.Array) -> Cells:
    return Cells(values=values.cast(pa.string()))


def _booleans(values: pa.Array) -> Cells:
    return Cells(values=values)


def _integers(values: pa.Array) -> Cells:
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        bad = np.isfinite(numbers) & (np.trunc(numbers) != numbers)
        bad |= np.isinf(numbers)
        long = ~bad & ((numbers < -_WHOLE) | (numbers >= _WHOLE))
        return _marked(values, bad | long, "a whole number of 64 bits is expected", pa.int64())
    if pa.types.is_uint64(values.type):
        bad = _mask(pc.greater(values, pa.scalar(2**63 - 1, pa.uint64())))
        return _marked(values, bad, "a whole number of 64 bits is expected", pa.int64())
    return Cells(values=values.cast(pa.int64()))


def _floats(values: pa.Array) -> Cells:
    numbers = values.cast(pa.float64(), safe=False)
    bad = _mask(pc.is_inf(numbers))
    return _marked(numbers, bad, "a finite number is expected", pa.float64())


def _timestamps(values: pa.Array) -> Cells:
    unit = values.type.unit
    if unit == "ns":  # rounded down: a cast that may lose something rounds towards 1970
        moments = pc.floor_temporal(values, unit="microsecond").cast(ARROW["timestamp"], safe=False)
        return Cells(values=moments)
    ticks = values.cast(pa.int64())
    first, last = _FIRST * _A_SECOND[unit], _LAST * _A_SECOND[unit]
    bad = _mask(pc.or_(pc.less(ticks, first), pc.greater_equal(ticks, last)))
    why = "a time from the year 1 to 9999 in UTC is expected"
    return _marked(values, bad, why, ARROW["timestamp"])


def _marked(values: pa.Array, bad: npt.NDArray[np.bool_], why: str, kind: pa.DataType) -> Cells:
    if not bad.any():
        return Cells(values=values.cast(kind))
    kept = pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
    return Cells(values=kept.cast(kind), bad=bad, why=why)


def _mask(values: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False))  # noqa: FBT003 - pyarrow's own


_Test = Callable[[pa.DataType], Any]
_FITS: Mapping[DType, tuple[_Test, ...]] = {
    "string": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    "int64": (pa.types.is_integer, pa.types.is_floating),
    "float64": (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal),
    "bool": (pa.types.is_boolean,),
    "timestamp": (pa.types.is_timestamp,),
}
_READERS: Mapping[DType, Callable[[pa.Array], Cells]] = {
    "string": _strings,
    "int64": _integers,
    "float64": _floats,
    "bool": _booleans,
    "timestamp": _timestamps,
}
