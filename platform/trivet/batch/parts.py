"""Cut a chunk's output into the files of a partitioned folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from trivet.errors import BadSetting

_NULL = "__HIVE_DEFAULT_PARTITION__"
_MOST = 1_000
"""Files of one chunk: a column of as many values as rows would make a file of each."""


def partitions(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield each folder's path, such as `carrier=AA/`, and its rows, without these columns.

    Raises:
        BadSetting: there are too many.
    """
    if not columns:
        yield "", table
        return
    if not len(table):
        return
    codes = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        encoded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        numbers = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        codes = np.unique(codes * (numbers.max(initial=0) + 1) + numbers, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    if len(starts) > _MOST:
        raise BadSetting(
            f"{', '.join(columns)} has {len(starts):,} values in one chunk, and each is a file.",
            hint="Partition by a column of fewer values.",
        )
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        rows = table.take(pa.array(order[start:end]))
        folders = [f"{quote(name)}={_value(rows[name][0].as_py())}/" for name in columns]
        yield "".join(folders), rows.drop_columns(list(columns))


def _value(value: Any) -> str:
    return _NULL if value is None else quote(str(value), safe=" ")
