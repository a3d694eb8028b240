"""Values of two stores side by side: what is equal, and what is equal but for its type."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.contract import Column, DType
from trivet.errors import BadSetting
from trivet.features.question import ARROW, typed
from trivet.observe.skew.causes import NEVER, SECOND, Mask, Micros

_FAMILIES = {"int64": "number", "float64": "number", "bool": "number"}


def alike(one: DType, other: DType) -> bool:
    """Say whether values of two dtypes can be equal: numbers and truths can, texts and times cannot."""
    return _FAMILIES.get(one, one) == _FAMILIES.get(other, other)


def plain(values: pa.ChunkedArray | pa.Array, dtype: DType) -> pa.Array:
    """Return values in the Arrow type of their dtype, with nulls for NaN."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(whole, pa.ChunkedArray):  # of no chunks at all
        whole = pa.array([], whole.type)
    made = whole.cast(ARROW[dtype])
    if pa.types.is_floating(made.type):
        return pc.if_else(pc.is_nan(made), pa.scalar(None, made.type), made)
    return made


def equal(one: pa.Array, other: pa.Array) -> Mask:
    """Compare n values exactly; null equals null, and a text is never a number."""
    both_null = _mask(pc.and_(one.is_null(), other.is_null()))
    if one.type != other.type:
        if not (_is_number(one.type) and _is_number(other.type)):
            return both_null
        one, other = _as_float(one), _as_float(other)
    return _mask(pc.equal(one, other)) | both_null


def equal_converted(one: pa.Array, other: pa.Array, dtypes: Collection[DType]) -> Mask:
    """Say where n values are both there, and equal but for a conversion that Feast's stores make.

    That is: any pair of a text, a time and a number; a number and what single precision makes of it;
    a number and its whole part, if one side is of whole numbers; a time and its whole second.

    Args:
        one: as served.
        other: of the source.
        dtypes: of the contract, of the registry and of the source.
    """
    both = _mask(pc.and_(one.is_valid(), other.is_valid()))
    if pa.types.is_timestamp(one.type) and one.type == other.type:
        like = _to_seconds(micros(one), micros(other))
    elif _is_number(one.type) and _is_number(other.type):
        like = _rounded(_as_float(one), _as_float(other), whole="int64" in dtypes)
    else:
        like = np.full_like(both, one.type != other.type)
    return np.logical_and(both, like)


def converted(column: Column, values: pa.Array) -> pa.Array:
    """Return values in a column's dtype, as a training set would, null where one does not fit."""
    try:
        return plain(typed(column, pa.chunked_array([values])), column.dtype)
    except BadSetting:
        return pa.array(
            [_converted(column, value) for value in values.to_pylist()], ARROW[column.dtype]
        )


def micros(moments: pa.ChunkedArray | pa.Array) -> Micros:
    """Return n timestamps as microseconds since 1970, `NEVER` for null."""
    since = plain(moments, "timestamp").view(pa.int64())
    return np.asarray(since.fill_null(NEVER).to_numpy(zero_copy_only=False), dtype=np.int64)


def moments(since: Micros) -> pa.Array:
    """Return microseconds since 1970 as timestamps; the reverse of `micros`."""
    return pa.array(since, mask=since == NEVER).view(ARROW["timestamp"])


def _converted(column: Column, value: object) -> object:
    try:
        return typed(column, pa.chunked_array([pa.array([value])])).to_pylist()[0]
    except BadSetting:
        return None


def _to_seconds(one: Micros, other: Micros) -> Mask:
    like: Mask = (one == other - other % SECOND) | (other == one - one % SECOND)
    return like


def _rounded(one: pa.Array, other: pa.Array, *, whole: bool) -> Mask:
    left, right = (side.to_numpy(zero_copy_only=False) for side in (one, other))
    with np.errstate(over="ignore", invalid="ignore"):
        like: Mask = (left.astype(np.float32) == right) | (right.astype(np.float32) == left)
    if whole:
        like = like | (np.trunc(left) == right) | (np.trunc(right) == left)
    return like


def _as_float(values: pa.Array) -> pa.Array:
    whole = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
    return whole.cast(pa.float64(), safe=False)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.bool_())


def _mask(values: pa.Array) -> Mask:
    return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)  # noqa: FBT003 - pyarrow's own
