"""Tensors are read as they were written, and what is no tensor is refused by a sentence."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trivet.serving.tensors import DATATYPES, from_bytes, from_json, to_bytes, typed

NUMBERS = {
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """Draw a datatype, and values that it can hold."""
    datatype = draw(st.sampled_from(DATATYPES))
    if datatype == "BYTES":
        return datatype, draw(texts)
    if datatype == "BOOL":
        return datatype, draw(st.lists(st.booleans(), max_size=5))
    drawn = draw(arrays.arrays(NUMBERS[datatype], st.integers(0, 5))).tolist()
    return datatype, [None if value != value else value for value in drawn]  # noqa: PLR0124


@given(tensors())
def test_what_was_written_is_read(tensor: tuple[str, list[Any]]) -> None:
    """Every type, NaN as an absent value."""
    datatype, values = tensor
    assert from_bytes(datatype, len(values), to_bytes(datatype, values)) == values
    assert from_json(datatype, len(values), values) == values
    assert from_json(datatype, len(values), [[value] for value in values]) == values


@given(st.sampled_from(DATATYPES), st.integers(0, 8), st.binary(max_size=40))
def test_any_bytes_are_so_many_values_or_are_refused(datatype: str, rows: int, raw: bytes) -> None:
    """By nothing else than the error that is told to the caller."""
    try:
        values = from_bytes(datatype, rows, raw)
    except ValueError:
        return
    assert len(values) == rows


@given(
    st.sampled_from(DATATYPES),
    st.integers(0, 3),
    st.lists(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from([10**400, -(2**63), 2**64 - 1])
        | st.floats()
        | st.text(max_size=3)
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=1), st.integers(), max_size=1),
        max_size=3,
    ),
)
def test_any_json_is_so_many_values_or_is_refused(
    datatype: str, rows: int, data: list[Any]
) -> None:
    """What is taken could be written again."""
    try:
        values = from_json(datatype, rows, data)
    except ValueError:
        return
    assert len(values) == rows
    if datatype.startswith("FP") or None not in values:
        with np.errstate(over="ignore"):
            to_bytes(datatype, values)


@pytest.mark.parametrize(
    ("datatype", "rows", "raw", "why"),
    [
        ("FP64", 2, b"\0" * 15, "2 of FP64 are 16 bytes, not 15"),
        ("INT32", 1, b"\0" * 8, "1 of INT32 are 4 bytes, not 8"),
        ("BOOL", 1, b"\2", "0 or 1"),
        ("BYTES", 1, b"\1\0", "end within the length"),
        ("BYTES", 1, struct.pack("<I", 2**32 - 1) + b"ab", "fewer bytes than its length says"),
        ("BYTES", 2, struct.pack("<I", 2) + b"ab", "2 elements, its bytes 1"),
        ("BYTES", 1, struct.pack("<I", 1) + b"\xff", "element 0 is not UTF-8"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused(
    datatype: str, rows: int, raw: bytes, why: str
) -> None:
    """The sentence says what does not fit."""
    with pytest.raises(ValueError, match=why):
        from_bytes(datatype, rows, raw)


@pytest.mark.parametrize(
    ("datatype", "data", "why"),
    [
        ("INT8", [128], "element 0 is not of INT8"),
        ("UINT64", [-1], "element 0 is not of UINT64"),
        ("INT64", [1, 2], "1 elements, the data 2"),
        ("INT64", [True], "not of INT64"),
        ("INT64", [1.0], "not of INT64"),
        ("FP32", ["1"], "not of FP32"),
        ("BOOL", [1], "not of BOOL"),
        ("BYTES", [1], "not of BYTES"),
        ("BYTES", [["a", "b"]], "not of BYTES"),
    ],
)
def test_json_that_is_no_tensor_is_refused(datatype: str, data: list[Any], why: str) -> None:
    """The server converts nothing but whole numbers to fractional ones."""
    with pytest.raises(ValueError, match=why):
        from_json(datatype, 1, data)


def test_single_precision_is_taken_as_it_is() -> None:
    """A double can hold each number of it."""
    raw = np.array([0.1, np.nan, np.inf], dtype="<f4").tobytes()
    assert from_bytes("FP32", 3, raw) == [float(np.float32(0.1)), None, np.inf]


def test_text_is_utf_8_with_its_length_before_it() -> None:
    """Four bytes, the least of them first; what is absent is empty."""
    assert to_bytes("BYTES", ["é", None]) == b"\2\0\0\0\xc3\xa9\0\0\0\0"


@pytest.mark.parametrize(
    ("values", "like", "datatype", "written"),
    [
        ([1, 2], [], "INT64", [1, 2]),
        ([1, None], [], "FP64", [1.0, None]),
        ([2**63], [], "FP64", [2.0**63]),
        ([1, 0.5], [], "FP64", [1.0, 0.5]),
        ([1], [0.5], "FP64", [1.0]),
        ([True], [], "BOOL", [True]),
        ([True, None], [], "FP64", [1.0, None]),
        (["a", None], [], "BYTES", ["a", None]),
        ([None], ["a"], "BYTES", [None]),
        ([None], [], "FP64", [None]),
        ([{"a": 1}, None], [], "BYTES", ['{"a":1}', None]),
        ([[1], "a"], [], "BYTES", ["[1]", '"a"']),
    ],
)
def test_values_choose_the_type_that_holds_them(
    values: list[Any], like: list[Any], datatype: str, written: list[Any]
) -> None:
    """Those of other rows count, so that a request's own gaps do not change it."""
    assert typed(values, like) == (datatype, written)
