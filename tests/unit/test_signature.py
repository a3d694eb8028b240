"""A signature's columns find their features, or every difference is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trivet.contract import Column, View
from trivet.errors import BadSetting, SignatureMismatch
from trivet.offer import Offer
from trivet.registry.copying import shown_uri
from trivet.runtime.steps import load_preprocess
from trivet.training.request_fields import with_request_fields
from trivet.training.signature import casting_code, match_signature
from unit.fakes import settings


def offer(*columns: Column) -> Offer:
    """Return a feature service of one view."""
    return Offer(
        project="p",
        feature_service="s",
        join_keys=(),
        views=(View(name="users", join_keys=()),),
        columns=columns,
    )


def column(name: str, dtype: str, absent: str = "reject") -> Column:
    """Return a column of the view."""
    return Column(name=name, source=f"users:{name}", dtype=dtype, absent=absent)


def matched(kind: str, found: Column, **said: tuple[str, ...]) -> tuple[Column, ...]:
    """Match a signature of one column."""
    given = {"request": (), "nullable": ()} | said
    return match_signature("m", 1, [("a", kind)], offer(found), **given)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("double", "float64"),
        ("float", "float64"),
        ("long", "int64"),
        ("integer", "int64"),
        ("string", "string"),
        ("boolean", "bool"),
        ("datetime", "timestamp"),
    ],
)
def test_a_column_of_the_same_type_is_the_features(kind: str, dtype: str) -> None:
    """Narrow numbers are cast before the model; see below."""
    assert matched(kind, column("a", dtype)) == (column("a", dtype),)


@pytest.mark.parametrize(
    ("kind", "found", "difference"),
    [
        ("double", column("a", "int64"), ("a", "dtype", "double", "int64")),
        ("long", column("a", "float64"), ("a", "dtype", "long", "float64")),
        ("string", column("a", "timestamp"), ("a", "dtype", "string", "timestamp")),
        ("double", column("b", "float64"), ("a", "feature", "double", "missing")),
        ("binary", column("a", "string"), ("a", "type", "binary", "no dtype of a column")),
        ("long", column("a", "int64", "null"), ("a", "nulls", "long: none", "int64 or null")),
    ],
)
def test_another_type_is_a_difference(
    kind: str, found: Column, difference: tuple[str, str, str, str]
) -> None:
    """A whole number that may be null comes as a float, which `long` does not take."""
    with pytest.raises(SignatureMismatch) as refused:
        matched(kind, found)
    (only,) = refused.value.differences
    assert (only.column, only.aspect, only.contract, only.feast) == difference
    assert "Nothing was changed" in refused.value.sentence
    assert "--request" in (refused.value.hint or "")


def test_whole_numbers_that_may_be_null_are_doubles_of_the_signature() -> None:
    """As pandas has them."""
    found = column("a", "int64", "null")
    assert matched("double", found, nullable=("a",)) == (found,)


def test_a_column_that_the_caller_sends_is_not_looked_for() -> None:
    """Whether or not Feast has one of that name."""
    (sent,) = matched("long", column("a", "string"), request=("a",))
    assert (sent.source, sent.dtype, sent.absent) == ("request", "int64", "reject")
    (open_to_nulls,) = matched("double", column("b", "string"), request=("a",), nullable=("a",))
    assert open_to_nulls.absent == "null"


def test_a_name_that_the_signature_lacks_is_a_slip() -> None:
    """Not a difference from Feast."""
    with pytest.raises(BadSetting, match="has no town; it has a"):
        matched("double", column("a", "float64"), request=("town",))


def test_narrow_numbers_are_made_narrow_before_the_model(tmp_path) -> None:
    """The code that does so is the version's own; where none is narrow there is none."""
    assert casting_code([("a", "double"), ("b", "string")]) is None
    code = casting_code([("a", "float"), ("b", "integer"), ("c", "string")])
    (tmp_path / "preprocess.py").write_text(code or "")
    columns = {
        "a": np.array([0.1, np.nan]),
        "b": np.array([1, 2]),
        "c": np.array(["x", None], dtype=object),
    }
    made = load_preprocess(tmp_path / "preprocess.py")(columns)
    assert [values.dtype for values in made.values()] == ["float32", "int32", "object"]
    assert list(made) == ["a", "b", "c"]
    assert list(made["c"]) == ["x", None]


def test_where_no_service_is_asked_nothing_is_added_to_a_request(tmp_path) -> None:
    """The columns are all that is sent."""
    rows = pd.DataFrame({"a": [1.0]})
    columns = [Column(name="a", source="request", dtype="float64")]
    made = with_request_fields(settings(tmp_path), None, columns, rows, {})
    assert made.equals(rows)
    with pytest.raises(BadSetting, match="--field names b; a request has"):
        with_request_fields(settings(tmp_path), None, columns, rows, {"b": "1"})


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://ann:secret@host:5000/mlflow", "http://host:5000/mlflow"),
        ("postgresql://ann:s@cret@db/m?sslpassword=x", "postgresql://db/m"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
    ],
)
def test_where_a_copy_comes_from_is_said_without_passwords(uri: str, shown: str) -> None:
    """It stands in tags that everybody reads."""
    assert shown_uri(uri) == shown
