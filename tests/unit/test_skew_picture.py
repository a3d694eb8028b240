"""Training stands beside serving: shares over the same places, and a picture of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from trivet.contract import Column, DType
from trivet.observe.skew.distribution import OTHERS, Distribution, compare_spread
from trivet.observe.skew.figure import MOST, draw

KINDS: dict[DType, pa.DataType] = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}


def spread(
    serving: Sequence[Any], training: Sequence[Any] | None, dtype: DType = "float64"
) -> Distribution:
    """Compare values of a column of some dtype."""
    column = Column(name="some", source="users:some", dtype=dtype)
    sides = [None if side is None else pa.array(side, KINDS[dtype]) for side in (serving, training)]
    trained = None if sides[1] is None else pa.chunked_array([sides[1]])
    return compare_spread(column, sides[0], trained)


VALUES = {
    "float64": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "int64": st.integers(-(2**40), 2**40),
    "string": st.text(max_size=3),
    "bool": st.booleans(),
}


@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_each_sides_shares_add_up_with_what_is_absent(data: st.DataObject, dtype: DType) -> None:
    """Of any values, many or few, on either side; and distances lie between 0 and 1."""
    lists = st.lists(VALUES[dtype] | st.none(), min_size=1, max_size=60)
    one = spread(data.draw(lists), data.draw(lists), dtype)
    assert one.training is not None
    for side in (one.serving, one.training):
        assert side.shares.sum() + side.absent == pytest.approx(1)
        places = len(one.values) if one.edges is None else len(one.edges) - 1
        assert len(side.shares) == places
    assert -1e-9 <= one.distance <= 1 + 1e-9


def test_both_zeros_are_one_value() -> None:
    """Arrow tells them apart, and nobody who looks at a picture does."""
    assert spread([0.0, -0.0, -0.0], [0.0, 0.0, -0.0], "float64").distance == 0


@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_the_same_values_are_not_apart(data: st.DataObject, dtype: DType) -> None:
    """However often and in whatever order they come."""
    values = data.draw(st.lists(VALUES[dtype] | st.none(), min_size=1, max_size=60))
    one = spread(values * 2, values[::-1], dtype)
    assert one.distance == pytest.approx(0)


def test_what_shares_nothing_is_wholly_apart() -> None:
    """An absent value is a place of its own."""
    assert spread(["a"] * 3, ["b"] * 5, "string").distance == 1
    assert spread([None] * 3, [1.0] * 5).distance == 1
    half = spread([None, None, 1.0, 1.0], [1.0] * 4)
    assert (half.distance, half.serving.absent) == (0.5, 0.5)


def test_a_range_of_numbers_has_bins_that_outliers_do_not_stretch() -> None:
    """They are counted in the outer ones."""
    one = spread([*range(1000), 1e12], [*range(1000)])
    assert one.edges is not None
    assert one.edges[-1] < 1100
    assert one.serving.shares.sum() == pytest.approx(1)


def test_few_numbers_are_values_in_their_order() -> None:
    """Such as days of the week."""
    one = spread([3, 1, 1], [2, 10], "int64")
    assert one.values == ("1", "2", "3", "10")
    assert one.serving.shares.tolist() == [2 / 3, 0, 1 / 3, 0]


def test_of_many_names_the_rare_ones_are_counted_together() -> None:
    """Eight bars at most."""
    names = [letter for n, letter in enumerate("abcdefghijkl") for _ in range(20 - n)]
    one = spread(names, names, "string")
    assert one.values == ("a", "b", "c", "d", "e", "f", "g", OTHERS)
    assert one.serving.shares.sum() == pytest.approx(1)


# --- the picture ----------------------------------------------------------------------------------


def drawn(*distributions: Distribution, **skewed: float) -> Figure:
    """Return the picture of some columns."""
    return draw("shop version 3: trained on and served", distributions, skewed, "a note")


def texts(figure: Figure) -> list[str]:
    """Return what stands in the small figures."""
    return [
        text
        for axes in figure.axes
        for text in (
            axes.get_title(loc="left"),
            axes.get_title(loc="right"),
            *(t.get_text() for t in axes.texts),
        )
        if text
    ]


def test_each_column_says_how_far_it_is_apart_and_its_skew() -> None:
    """In its own figure."""
    found = texts(drawn(spread([None, 1.0], [1.0, 1.0]), some=0.25))
    assert found == ["some", "skew 25 %", "apart 50 %, absent 0 % → 50 %"]


def test_the_legend_says_how_many_rows_there_are() -> None:
    """On both sides; without training, of one."""
    legend = drawn(spread([1.0] * 1500, [1.0] * 20)).legends[0]
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["training (20 rows)", "serving (1,500 rows)"]
    alone = drawn(spread([1.0], None)).legends[0]
    assert [text.get_text() for text in alone.get_texts()] == ["serving (1 rows)"]


def test_columns_without_room_are_counted() -> None:
    """The first are drawn."""
    figure = drawn(*[spread([1.0], [1.0])] * (MOST + 3))
    assert sum(title == "some" for title in texts(figure)) == MOST
    assert "3 more columns are less apart" in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("serving", "training", "dtype"),
    [
        ([None, None], [*np.arange(50.0)], "float64"),
        ([*np.arange(50.0)], [None], "float64"),
        ([None], [None], "string"),
        ([5.0] * 9, [5.0], "float64"),
        ([1e-300 * n for n in range(40)], [1e300], "float64"),
        (["a name that is far too long to stand below a bar"] * 2, ["b"], "string"),
        ([True, False, None], [True], "bool"),
        ([*range(50)], None, "int64"),
    ],
)
def test_any_values_can_be_drawn(
    serving: list[Any], training: list[Any] | None, dtype: DType
) -> None:
    """None at all, all the same, far apart, long."""
    picture = io.BytesIO()
    drawn(spread(serving, training, dtype)).savefig(picture, dpi=40)
    assert picture.getvalue().startswith(b"\x89PNG")
