"""A digest of a table's values that does not depend on how they are stored or cut into batches."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_WIDTHS = {32: pa.int32(), 64: pa.int64()}
"""Integers by the bits of the dates and times that they stand for."""


class TableDigest:
    """Digests a table that comes in parts: hashes of every column's values and nulls.

    The names, the types and the order of columns and rows count; files, chunks and the version of
    the library that wrote them do not.

        >>> whole, parts = TableDigest(), TableDigest()
        >>> whole.update(pa.table({"x": [1, None, 3]}))
        >>> for part in ([1], [None, 3]):
        ...     parts.update(pa.table({"x": pa.array(part, pa.int64())}))
        >>> whole.hexdigest() == parts.hexdigest()
        True
    """

    def __init__(self) -> None:
        """Begin with a table of no columns and no rows."""
        self._streams: dict[str, Any] = {}

    def update(self, part: pa.Table) -> None:
        """Go on with the next rows."""
        for name, column in zip(part.column_names, part.columns, strict=True):
            kind = _plain(column.type)
            for chunk in column.chunks:
                # A hash each for nulls and values: one for both would depend on the chunks.
                for stream, values in _streams(chunk.cast(kind)).items():
                    label = f"{name}\0{kind}\0{stream}"
                    digest = self._streams.setdefault(label, blake2b(digest_size=32))
                    digest.update(np.ascontiguousarray(values))

    def hexdigest(self) -> str:
        """Return the digest of all rows so far."""
        whole = blake2b(digest_size=32)
        for label, digest in self._streams.items():
            whole.update(f"{label}\0{digest.hexdigest()}\n".encode())
        return whole.hexdigest()


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type as which a column's values are digested."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.large_string() if pa.types.is_string(kind) else kind


def _streams(values: pa.Array) -> dict[str, npt.NDArray[Any]]:
    """Return nulls and values as numbers; the value in a null's place is always the same."""
    nulls = {"nulls": np.asarray(values.is_null())}
    kind = values.type
    if pa.types.is_temporal(kind) and kind.bit_width in _WIDTHS:
        values = values.view(_WIDTHS[kind.bit_width])
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return {**nulls, "values": np.asarray(values.fill_null(0))}
    if pa.types.is_boolean(kind):
        return {**nulls, "values": np.asarray(values.fill_null(pa.scalar(value=False)))}
    if not pa.types.is_large_string(kind):  # lists and the like: rare among keys and labels
        values = pa.array([repr(value) for value in values.to_pylist()], pa.large_string())
    return {**nulls, **_text(values.fill_null(""))}


def _text(values: pa.Array) -> dict[str, npt.NDArray[Any]]:
    """Return lengths and characters of texts: large_string without nulls."""
    lengths = np.asarray(pc.binary_length(values))
    if not lengths.sum():
        return {"lengths": lengths, "characters": np.empty(0, np.uint8)}
    _, offsets, characters = values.buffers()
    ends = np.frombuffer(offsets, np.int64)
    start, end = ends[values.offset], ends[values.offset + len(values)]
    return {"lengths": lengths, "characters": np.frombuffer(characters, np.uint8)[start:end]}
