"""Tensors of the Open Inference Protocol v2: plain values to and from JSON lists and raw bytes.

A tensor holds one value a row here, None where a value is absent: NaN in numbers that have it, null
in JSON. Bytes are little-endian, row by row, without padding; text has its length before it.
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

_NUMBERS: Mapping[str, npt.DTypeLike] = {
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}

DATATYPES = ("BOOL", *_NUMBERS, "BYTES")
"""The names of all types of elements that are taken; text is BYTES in UTF-8."""

_LENGTH = struct.Struct("<I")


def from_bytes(datatype: str, rows: int, raw: bytes | memoryview) -> list[Any]:
    """Read `rows` values out of a tensor's bytes.

    Raises:
        ValueError: they are not the bytes of so many values; the message says why.
    """
    if datatype == "BYTES":
        return _texts(rows, raw)
    dtype = np.dtype(_NUMBERS.get(datatype, "<u1"))
    if len(raw) != rows * dtype.itemsize:
        raise ValueError(f"{rows} of {datatype} are {rows * dtype.itemsize} bytes, not {len(raw)}")
    values: list[Any] = np.frombuffer(raw, dtype).tolist()
    if datatype == "BOOL":
        if any(value > 1 for value in values):
            raise ValueError("a byte of BOOL is 0 or 1")
        return [value == 1 for value in values]
    return _without_nan(values) if dtype.kind == "f" else values


def from_json(datatype: str, rows: int, data: Sequence[Any]) -> list[Any]:
    """Read `rows` values out of a JSON list; each may stand in a list of its own, as [n, 1] has it.

    Raises:
        ValueError: it has other values, or another number of them.
    """
    values = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in data]
    if len(values) != rows:
        raise ValueError(f"the shape has {rows} elements, the data {len(values)}")
    if not _fit(datatype, values):
        row = next(n for n, value in enumerate(values) if not _fit(datatype, [value]))
        raise ValueError(f"element {row} is not of {datatype}")
    if datatype.startswith("FP"):
        return _without_nan([None if value is None else float(value) for value in values])
    return values


def to_bytes(datatype: str, values: Sequence[Any]) -> bytes:
    """Write values as a tensor's bytes; what is absent is NaN, or the empty text."""
    if datatype == "BYTES":
        texts = [b"" if value is None else value.encode() for value in values]
        return b"".join([_LENGTH.pack(len(text)) + text for text in texts])
    if datatype == "BOOL":
        return bytes(values)
    absent = [np.nan if value is None else value for value in values]
    return np.array(absent, dtype=_NUMBERS[datatype]).tobytes()


def typed(values: Sequence[Any], like: Sequence[Any] = ()) -> tuple[str, list[Any]]:
    """Choose the datatype that holds JSON values, and others like them; return the values as that.

    Whole numbers and truth values of which some are absent are FP64, as in a contract's columns. What
    is no single value, or of several kinds, is written as JSON in a text.
    """
    kinds = {type(value) for value in (*values, *like)}
    gaps = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {str}:
        return "BYTES", list(values)
    if kinds == {bool} and not gaps:
        return "BOOL", list(values)
    if kinds == {int} and not gaps and _fit("INT64", values):
        return "INT64", list(values)
    if kinds <= {int, float} or kinds == {bool}:
        return "FP64", [None if value is None else float(value) for value in values]
    return "BYTES", [None if value is None else orjson.dumps(value).decode() for value in values]


def _texts(rows: int, raw: bytes | memoryview) -> list[Any]:
    texts, at = [], 0
    while at < len(raw):
        start = at + _LENGTH.size
        if start > len(raw):
            raise ValueError("its bytes end within the length of an element")
        at = start + _LENGTH.unpack_from(raw, start - _LENGTH.size)[0]
        if at > len(raw):
            raise ValueError("an element has fewer bytes than its length says")
        try:
            texts.append(str(raw[start:at], "utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"element {len(texts)} is not UTF-8") from None
    if len(texts) != rows:
        raise ValueError(f"the shape has {rows} elements, its bytes {len(texts)}")
    return texts


def _fit(datatype: str, values: Sequence[Any]) -> bool:
    """Say whether JSON values, or None, are of a datatype."""
    kinds, least, most = _JSON[datatype]
    have = set(map(type, values)) - {type(None)}
    if int in have and have <= kinds:
        return all(least <= value <= most for value in values if type(value) is int)
    return have <= kinds


def _json_kinds(datatype: str) -> tuple[set[type], int, int]:
    """Return the types of the JSON values of a datatype, and the whole numbers that it can hold."""
    if datatype in {"BOOL", "BYTES"}:
        return {bool if datatype == "BOOL" else str}, 0, 0
    dtype = np.dtype(_NUMBERS[datatype])
    if dtype.kind == "f":
        return {int, float}, -(2**1000), 2**1000
    limits = np.iinfo(dtype)
    return {int}, int(limits.min), int(limits.max)


_JSON = {datatype: _json_kinds(datatype) for datatype in DATATYPES}


def _without_nan(values: Sequence[Any]) -> list[Any]:
    # NaN alone is not itself.
    return [value if value == value else None for value in values]  # noqa: PLR0124
