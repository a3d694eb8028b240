"""Rows appended to a Parquet file without writing it anew: segments beside it, folded into it later.

Beside `readings.parquet` stands the folder `readings.parquet.segments`:

    000000000009-000000000009.parquet    one append, the ninth
    000000000010-000000000041.parquet    appends that have been merged

A source's rows are those of its file and of the segments that the file does not hold yet: its
metadata names the last append that was folded into it. A segment whose appends another one or the
file holds counts for nothing, so a process may be killed between a rename and the removal of what
that rename has replaced. Everything becomes visible by a rename, of a file that has reached the disk.

Appends are numbered, and the folder listed, under a lock on the folder; the system releases it however
a process ends. Rows in a segment stand in reverse, and segments come newest first: of equal key and
moment, the first row is the last correction.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from trivet.errors import FeaturesUnavailable

FOLDED = b"trivet.segments"
"""In a source file's metadata: the number of the last append that it holds."""

_TRIES = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The appends `first` to `last`, in one file."""

    path: Path
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """What a source has beside its file, as of one moment."""

    live: tuple[Segment, ...]
    """Oldest first; together with the file they hold each row once."""
    replaced: tuple[Segment, ...]
    """Held by another segment or the file; to be removed."""
    last: int
    """The number of the last append; 0: there was none."""
    mark: tuple[int, ...]
    """Changes when the file is replaced."""


def folder_of(source: Path) -> Path:
    """Return where a source's segments are, if there are any."""
    return source.with_name(f"{source.name}.segments")


def append(source: Path, rows: pa.Table) -> None:
    """Add rows to a source; once it returns, they outlive this process.

    What was written has reached the disk, so that no reader ever meets half a file; its name may take
    the system's few seconds to get there.

    Args:
        source: an existing Parquet file.
        rows: in its schema, in the order in which they became known.

    Raises:
        OSError: the disk refuses; nothing was added.
    """
    folder = folder_of(source)
    folder.mkdir(exist_ok=True)
    hidden = folder / f".{uuid.uuid4().hex}.part"
    try:
        write_whole(hidden, rows.take(pa.array(range(len(rows) - 1, -1, -1), pa.int64())))
        with locked(folder):
            number = tail_of(source).last + 1
            hidden.rename(segment_path(source, number, number))
    finally:
        hidden.unlink(missing_ok=True)


def read_source(source: str | Path, read: Callable[[list[str]], T]) -> T:
    """Read all of a source's rows as of one moment, while others append and fold.

    Args:
        source: a Parquet file; whatever else it is (a folder, a pattern), it is read as it stands.
        read: is given the files, the first row of equal key and moment first. Called again if the
            files were replaced while it read.

    Raises:
        FeaturesUnavailable: the files are replaced faster than they can be read.
        Exception: whatever `read` raises.
    """
    path = Path(source)
    for _ in range(_TRIES):
        if not folder_of(path).is_dir() or not path.is_file():
            return read([str(source)])
        tail = _look(path)
        files = [*(str(segment.path) for segment in reversed(tail.live)), str(path)]
        try:
            found = read(files)
        except Exception:
            if mark_of(path) == tail.mark and all(Path(file).exists() for file in files):
                raise
            continue
        if mark_of(path) == tail.mark:
            return found
    raise FeaturesUnavailable(f"{source} is replaced faster than it can be read.")


def tail_of(source: Path) -> Tail:
    """List a source's segments; the caller holds the folder's lock."""
    mark = mark_of(source)
    folded = int((pq.read_metadata(source).metadata or {}).get(FOLDED, 0))
    live: list[Segment] = []
    replaced: list[Segment] = []
    held = folded
    for segment in sorted(_segments(source), key=lambda one: (one.first, -one.last)):
        (live if segment.first > held else replaced).append(segment)
        held = max(held, segment.last)
    return Tail(live=tuple(live), replaced=tuple(replaced), last=held, mark=mark)


def segment_path(source: Path, first: int, last: int) -> Path:
    """Return the file of the appends `first` to `last`."""
    return folder_of(source) / f"{first:012d}-{last:012d}.parquet"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder of segments: for numbers, listings and renames, never for long."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, rows: pa.Table) -> None:
    """Write a Parquet file and have it reach the disk."""
    with path.open("wb") as file:
        pq.write_table(rows, file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mark_of(path: Path) -> tuple[int, ...]:
    """Return what changes when another file takes a file's place."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _look(source: Path) -> Tail:
    with locked(folder_of(source)):
        return tail_of(source)


def _segments(source: Path) -> Iterator[Segment]:
    for path in folder_of(source).glob("[0-9]*.parquet"):
        first, last = path.stem.split("-")
        yield Segment(path=path, first=int(first), last=int(last))
