"""A segment of the log: an Arrow stream while it grows, a Parquet file once it is finished.

The stream is written message by message with `write`, so whatever was appended before a `kill -9` is
in the file; the lock on the open file ends with its process, which tells a segment that somebody
writes from one that was left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from trivet.logged import open_folder

_ROW_GROUP = 20_000
"""Rows that are held in memory when a segment is finished."""


class Segment:
    """A segment that this process appends to."""

    def __init__(self, path: Path, file: int, schema: pa.Schema) -> None:
        """Made by `create`."""
        self.path = path
        self.rows = 0
        self.since = time.monotonic()
        self._file = file
        self._schema = schema
        self._end = 0

    @classmethod
    def create(cls, folder: Path, schema: pa.Schema, digest: str, first: datetime) -> Self:
        """Start a segment.

        Args:
            folder: of the model's log.
            schema: of the rows.
            digest: of their contract, whose start is in the name.
            first: about when its first row was asked; the name begins with it.

        Raises:
            OSError: the disk refuses.
        """
        opened = open_folder(folder)
        opened.mkdir(parents=True, exist_ok=True)
        stem = f"{first:%Y%m%dT%H%M%S}-{digest[:12]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        path = opened / f"{stem}.arrow"
        hidden = opened / f".{stem}"
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        segment = cls(path, file, schema)
        try:
            # It gets the name that others look for once it is locked and begun.
            fcntl.flock(file, fcntl.LOCK_EX)
            segment._write(schema.serialize())
            hidden.rename(path)
        except OSError:
            hidden.unlink(missing_ok=True)
            os.close(file)
            raise
        return segment

    def append(self, batch: pa.RecordBatch) -> None:
        """Append rows; once it returns, they outlive this process.

        Raises:
            OSError: the disk refuses; the file is as it was before.
        """
        self._write(batch.serialize())
        self.rows += batch.num_rows

    def finish(self) -> None:
        """Turn it into a Parquet file.

        Raises:
            OSError: the disk refuses; the segment stays open and whole.
        """
        _to_parquet(self.path)
        os.close(self._file)

    def leave(self) -> None:
        """Let go of it as it is; the next worker that starts finishes it."""
        os.close(self._file)

    def _write(self, message: pa.Buffer) -> None:
        left = memoryview(message)
        try:
            while left:
                at = self._end + message.size - len(left)
                left = left[os.pwrite(self._file, left, at) :]
        except OSError:
            # A full disk takes a part of a message: what came after it could never be read.
            os.ftruncate(self._file, self._end)
            raise
        self._end += message.size


def recover(folder: Path) -> int:
    """Finish the segments that ended processes have left; return how many.

    Raises:
        OSError: the disk refuses.
    """
    opened = open_folder(folder)
    return sum(_recover_one(path) for path in sorted(opened.glob("*.arrow")))


def read_open(path: Path) -> pa.Table | None:
    """Return what has been flushed to an open segment; None where it was finished meanwhile."""
    try:
        with pa.OSFile(str(path)) as source:
            batches = list(_flushed(source))
    except FileNotFoundError:
        return None
    return pa.Table.from_batches(batches) if batches else None


def finished_path(open_path: Path) -> Path:
    """Return the Parquet file that an open segment becomes."""
    return open_path.parent.parent / f"{open_path.stem}.parquet"


def _recover_one(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink:  # else another worker has recovered it just now
            _to_parquet(path)
            return True
    except BlockingIOError:
        pass  # its writer lives
    finally:
        os.close(file)
    return False


def _to_parquet(path: Path) -> None:
    """Write the flushed part of an open segment as Parquet, then remove it.

    Killed in between, it is done again, to the same name: nothing is there twice.
    """
    target = finished_path(path)
    partial = target.with_name(f".{target.name}.part")
    try:
        with pa.OSFile(str(path)) as source:
            has_rows = _write_parquet(_flushed(source), partial)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if has_rows:
        partial.replace(target)
        _sync(target.parent)
    path.unlink()


def _write_parquet(batches: Iterable[pa.RecordBatch], to: Path) -> bool:
    """Write batches to a new file and have it reach the disk; False and no file without any."""
    writer: pq.ParquetWriter | None = None
    try:
        for table in _groups(batches):
            # Cheap to write: the worker needs its core for requests.
            writer = writer or pq.ParquetWriter(to, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
            _sync(to)
    except OSError:
        if writer is not None:
            with contextlib.suppress(OSError):  # closing writes too, to the same disk
                writer.close()
        raise
    return writer is not None


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(b.num_rows for b in group) >= _ROW_GROUP:
            yield pa.Table.from_batches(group).combine_chunks()
            group = []
    if group:
        yield pa.Table.from_batches(group).combine_chunks()


def _flushed(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """Yield the whole batches of a stream that may end anywhere.

    Raises:
        OSError: the disk fails; the end of the file within a message is none.
    """
    try:
        yield from pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        return
    except OSError as err:
        if err.errno is not None:
            raise


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
