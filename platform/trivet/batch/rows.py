"""The entity file: opened, and read in any part without the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from trivet.batch.folder import sha256
from trivet.batch.job import EntityFile
from trivet.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 2**16
"""Rows decoded at a time: those of a row group that a chunk does not want are let go again."""


def examine(path: Path) -> EntityFile:
    """Return what tells an entity file from another one.

    Raises:
        BadSetting: it is no Parquet file that can be read.
    """
    with _readable(path):
        rows = pq.read_metadata(path).num_rows
        return EntityFile(sha256=sha256(path), rows=rows)


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written: its size, and when that was in nanoseconds.

    Raises:
        BadSetting: it is not there.
    """
    with _readable(path):
        found = path.stat()
        return found.st_size, found.st_mtime_ns


def read_rows(path: Path, first: int, end: int, columns: Sequence[str]) -> pa.Table:
    """Return the rows from `first` to before `end`; only the row groups that hold them are read.

    Raises:
        BadSetting: the file cannot be read.
    """
    with _readable(path), pq.ParquetFile(path) as file:
        groups, start = _groups(file.metadata, first, end)
        parts: list[pa.RecordBatch] = []
        for batch in file.iter_batches(_AT_ONCE, row_groups=groups, columns=list(columns)):
            low, high = max(first - start, 0), min(end - start, len(batch))
            if low < high:
                parts.append(batch.slice(low, high - low))
            start += len(batch)
            if start >= end:
                break
        wanted = [file.schema_arrow.field(name) for name in columns]
        table = pa.Table.from_batches(parts, parts[0].schema if parts else pa.schema(wanted))
        if len(table) != end - first:
            raise BadSetting(f"{path} has fewer rows than when the job began.")
        return table.select(list(columns))


def _groups(metadata: pq.FileMetaData, first: int, end: int) -> tuple[list[int], int]:
    """Return the row groups that hold some rows, and the number of their first row."""
    chosen: list[int] = []
    start = begins = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if start + rows > first and start < end:
            begins = begins if chosen else start
            chosen.append(group)
        start += rows
    return chosen, begins


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as err:
        raise BadSetting(
            f"The entity file {path} cannot be read: {err}.", hint="It is to be one Parquet file."
        ) from err
