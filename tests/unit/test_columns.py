"""Values become the same arrays in training and in serving, and come back as they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.columns import from_json, stored, to_array, to_columns, to_json
from trivet.contract import Absent, Column, Default, DType
from trivet.training import frames

MORNING = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
VALUES: dict[DType, list[Any]] = {
    "float64": [1.5, 2.0],
    "int64": [1, 2],
    "bool": [True, False],
    "string": ["a", ""],
    "timestamp": [MORNING, MORNING],
}
ANY_VALUE: dict[DType, st.SearchStrategy[Any]] = {
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    # Nullable integers are held as float64, which is exact up to here.
    "int64": st.integers(-(2**53), 2**53),
    "bool": st.booleans(),
    "string": st.text(),
    "timestamp": st.datetimes(
        min_value=datetime(1, 1, 2),  # noqa: DTZ001 - the zone comes with the next argument
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))]),
    ),
}


def column(dtype: DType, absent: Absent = "reject") -> Column:
    """Return a request column."""
    return Column(name="c", source="request", dtype=dtype, absent=absent)


@pytest.mark.parametrize(
    ("dtype", "absent", "expected"),
    [
        ("float64", "reject", "float64"),
        ("float64", "null", "float64"),
        ("int64", "reject", "int64"),
        ("int64", Default(default=0), "int64"),
        ("int64", "null", "float64"),
        ("bool", "reject", "bool"),
        ("bool", "null", "float64"),
        ("string", "reject", "object"),
        ("string", "null", "object"),
        ("timestamp", "reject", "datetime64[us]"),
        ("timestamp", "null", "datetime64[us]"),
    ],
)
def test_a_columns_array_depends_on_its_contract_alone(
    dtype: DType, absent: Absent, expected: str
) -> None:
    """And not on which rows stand together: with a null, without one, or no row at all."""
    batches = [VALUES[dtype], []]
    if absent == "null":
        batches += [[None, *VALUES[dtype]], [None]]
    for values in batches:
        array = to_array(column(dtype, absent), values)
        assert array.dtype == np.dtype(expected)
        assert array.shape == (len(values),)


@pytest.mark.parametrize("dtype", list(VALUES))
def test_a_null_comes_back_as_none(dtype: DType) -> None:
    """NaN, None or NaT in between."""
    nullable = column(dtype, "null")
    array = to_array(nullable, [None, *VALUES[dtype]])
    assert stored(nullable, array[0]) is None
    assert pd.isna(array[0])


@pytest.mark.parametrize("absent", ["reject", Default(default=0)])
def test_a_null_that_no_policy_lets_through_is_an_error(absent: Absent) -> None:
    """It would become a number that nobody meant."""
    with pytest.raises(ValueError, match="c has a null"):
        to_array(column("int64", absent), [1, None])
    with pytest.raises(ValueError, match="c has a null"):
        to_columns([column("float64", absent)], {"c": [1.0, None]})


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("dtype", list(VALUES))
@given(data=st.data())
def test_what_is_stored_is_read_back_the_same(
    dtype: DType, nullable: bool, data: st.DataObject
) -> None:
    """The way of a golden row: value, array, JSON, value, array."""
    one = column(dtype, "null" if nullable else "reject")
    strategy = ANY_VALUE[dtype] | st.none() if nullable else ANY_VALUE[dtype]
    values = data.draw(st.lists(strategy, max_size=4))
    array = to_array(one, values)
    again = [from_json(dtype, stored(one, element)) for element in array]
    assert again == values
    assert [type(value) for value in again] == [type(value) for value in values]


@given(data=st.data())
def test_columns_made_together_are_those_made_one_by_one(data: st.DataObject) -> None:
    """Whatever their dtypes are, in the order of the contract."""
    kinds = data.draw(
        st.lists(st.tuples(st.sampled_from(list(VALUES)), st.booleans()), min_size=1, max_size=6)
    )
    rows = data.draw(st.integers(0, 4))
    columns = [
        column(dtype, "null" if nullable else "reject").model_copy(update={"name": f"c{n}"})
        for n, (dtype, nullable) in enumerate(kinds)
    ]
    values = {
        one.name: data.draw(
            st.lists(
                ANY_VALUE[dtype] | st.none() if nullable else ANY_VALUE[dtype],
                min_size=rows,
                max_size=rows,
            )
        )
        for one, (dtype, nullable) in zip(columns, kinds, strict=True)
    }
    together = to_columns(columns, values)
    assert list(together) == [one.name for one in columns]
    for one in columns:
        alone = to_array(one, values[one.name])
        assert together[one.name].dtype == alone.dtype
        assert pd.Series(together[one.name]).equals(pd.Series(alone))


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("dtype", list(VALUES))
def test_training_has_the_arrays_that_serving_has(dtype: DType, nullable: bool) -> None:
    """A frame's column and a request's values become equal arrays of equal dtype."""
    one = column(dtype, "null" if nullable else "reject")
    values = [*VALUES[dtype], None] if nullable else VALUES[dtype]
    serving = to_columns([one], {"c": values})["c"]
    training = frames.to_columns([one], pd.DataFrame({"c": values}))["c"]
    assert serving.dtype == training.dtype
    assert pd.Series(serving).equals(pd.Series(training))


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float64", 1.5, 1.5),
        ("float64", 2, 2.0),
        ("float64", -(2**70), float(-(2**70))),
        ("int64", 3, 3),
        ("int64", 3.0, 3),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("int64", -(2**63), -(2**63)),
        ("bool", True, True),
        ("string", "", ""),
        ("timestamp", "2026-11-22T08:30:00Z", MORNING),
        ("timestamp", "2026-11-22T03:30:00-05:00", MORNING),
        ("timestamp", MORNING, MORNING),
    ],
)
def test_a_value_of_the_dtype_is_taken(dtype: DType, value: Any, expected: Any) -> None:
    """Whole floats as integers, integers as floats, and times in UTC."""
    found = from_json(dtype, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        ("float64", "1.5", "a number is expected"),
        ("float64", True, "a number is expected"),
        ("float64", [1.0], "a number is expected"),
        ("float64", float("nan"), "a finite number"),
        ("float64", float("inf"), "a finite number"),
        ("float64", 10**400, "a finite number"),
        ("int64", 1.5, "a whole number is expected"),
        ("int64", True, "a whole number is expected"),
        ("int64", "1", "a whole number is expected"),
        ("int64", float("nan"), "a whole number is expected"),
        ("int64", float("inf"), "a whole number is expected"),
        ("int64", 2**63, "of 64 bits"),
        ("int64", 1e30, "of 64 bits"),
        ("bool", 1, "true or false"),
        ("bool", "true", "true or false"),
        ("string", 1, "a string is expected"),
        ("string", {}, "a string is expected"),
        ("timestamp", 1_763_800_200, "an ISO 8601 time is expected"),
        ("timestamp", "yesterday", "an ISO 8601 time is expected"),
        ("timestamp", "2026-11-22T08:30:00", "with its offset"),
        ("timestamp", "2026-11-22", "with its offset"),
        ("timestamp", "0001-01-01T00:00:00+05:00", "from the year 1 to 9999"),
    ],
)
def test_a_value_of_another_type_is_refused(dtype: DType, value: Any, says: str) -> None:
    """Nothing is converted that might mean something else."""
    with pytest.raises(ValueError, match=says):
        from_json(dtype, value)


@pytest.mark.parametrize("dtype", list(VALUES))
def test_null_is_of_every_dtype(dtype: DType) -> None:
    """Whether it is accepted is the policy's business."""
    assert from_json(dtype, None) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64("nan"), None),
        (np.datetime64("NaT"), None),
        (None, None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.datetime64("2026-11-22T08:30"), "2026-11-22T08:30:00Z"),
        (MORNING.astimezone(timezone(timedelta(hours=5))), "2026-11-22T08:30:00Z"),
    ],
)
def test_numpys_values_become_jsons(value: Any, expected: Any) -> None:
    """JSON has no NaN, and a time is written in UTC."""
    found = to_json(value)
    assert found == expected
    assert type(found) is type(expected)
