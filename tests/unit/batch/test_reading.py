"""Arrow columns are read as a contract's dtypes, and what a service would refuse is marked."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies

from trivet.batch.reading import check_type, read_cells
from trivet.columns import from_json
from trivet.contract import DType
from trivet.errors import BadSetting


@given(strategies.lists(strategies.none() | strategies.floats()))
def test_floats_and_whole_numbers_are_refused_where_a_service_refuses_them(values):
    """NaN apart, which is what pandas makes of a null: it counts as one."""
    array = pa.array(values, pa.float64())
    for dtype in ("float64", "int64"):
        cells = read_cells(dtype, array)
        bad = np.zeros(len(values), bool) if cells.bad is None else cells.bad
        for value, cell, wrong in zip(values, cells.values.to_pylist(), bad, strict=True):
            expected, refused = _service(dtype, value)
            assert wrong == refused
            assert cell == expected


def _service(dtype: DType, value: float | None) -> tuple[object, bool]:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None, False
    try:
        return from_json(dtype, value), False
    except ValueError:
        return None, True


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        ("string", pa.array(["a", None], pa.large_string())),
        ("string", pa.array(["a", None]).dictionary_encode()),
        ("int64", pa.array([3, None], pa.int8())),
        ("int64", pa.array([3, None], pa.uint64())),
        ("float64", pa.array([3, None], pa.int64())),
        ("float64", pa.array([Decimal("3.5"), None])),
        ("float64", pa.array([1.5, None], pa.float32())),
        ("bool", pa.array([True, None])),
        ("timestamp", pa.array([0, None], pa.timestamp("s"))),
        ("int64", pa.nulls(2)),
    ],
)
def test_what_can_hold_a_dtypes_values_is_read(dtype, array):
    """Without a cell that is bad, and with its nulls."""
    check_type("x", dtype, array.type)
    cells = read_cells(dtype, array)
    assert cells.bad is None
    assert cells.values[1].as_py() is None


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("string", pa.int64()),
        ("int64", pa.string()),
        ("bool", pa.int8()),
        ("float64", pa.bool_()),
        ("timestamp", pa.date32()),
        ("timestamp", pa.string()),
        ("string", pa.list_(pa.string())),
    ],
)
def test_what_cannot_is_refused_as_a_whole(dtype, kind):
    """By the column's name and both types."""
    with pytest.raises(BadSetting, match=f"x is of type .*, and {dtype} is needed"):
        check_type("x", dtype, kind)


def test_an_unsigned_number_beyond_64_bits_is_bad():
    """The last one that fits is not."""
    cells = read_cells("int64", pa.array([2**63, 2**63 - 1], pa.uint64()))
    assert cells.bad.tolist() == [True, False]
    assert cells.values.to_pylist() == [None, 2**63 - 1]


def test_moments_are_cut_to_microseconds_and_kept_in_range():
    """Before 1970 too; a time without a zone is UTC; the year 10000 is none of Python's."""
    early = read_cells("timestamp", pa.array([-1, 1_999], pa.timestamp("ns")))
    assert [m.microsecond for m in early.values.to_pylist()] == [999_999, 1]
    seconds = pa.array([0, 253_402_300_800, -62_135_596_801], pa.timestamp("s"))
    cells = read_cells("timestamp", seconds)
    assert cells.bad.tolist() == [False, True, True]
    assert cells.values[0].as_py() == datetime(1970, 1, 1, tzinfo=UTC)
