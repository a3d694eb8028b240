"""Fold appended segments: many small ones into one, and all of them into their source's file.

Both write beside, and replace by one rename. A merge costs what has been appended since the last one;
a fold writes the whole file, and is done when that has become worth it: when a quarter of the file
has been appended, when a segment has waited for five minutes, and before a materialization.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from trivet.features.segments import (
    FOLDED,
    Segment,
    Tail,
    folder_of,
    locked,
    mark_of,
    segment_path,
    sync_folder,
    tail_of,
    write_whole,
)

MERGE_AT = 32
"""Appends that are merged at a time: so many small files are read at most, and a few larger ones."""
FOLD_SHARE = 0.25
"""Of a source's bytes: each row is written a handful of times in all, however large the file grows."""
FOLD_BYTES = 4 * 2**20
"""Less than this is not worth a fold by itself."""
FOLD_SECONDS = 300.0
"""How long bare `feast` may lack a row that was appended, while rows are being appended."""

_ROWS = 131_072
"""Of a row group of the file: what a fold holds in memory at a time."""
_LEFT_SECONDS = 3600.0
_SURE_SECONDS = 1.0
"""Clocks that differ by less do not have a segment taken for one that may wait on."""

_log = logging.getLogger(__name__)


def fold(source: Path) -> bool:
    """Write a source's file with all that was appended; False: nothing was, or the file was replaced.

    Whoever else folds is waited for. Appends go on meanwhile.

    Raises:
        OSError: the disk refuses; every row is where it was.
    """
    if not folder_of(source).is_dir():
        return False
    with FileLock(_lock(source)):
        return _fold(source, _clean(source))


def tidy(source: Path) -> None:
    """Merge or fold if it is time to, unless another process is at it.

    Raises:
        OSError: the disk refuses; every row is where it was.
    """
    if not folder_of(source).is_dir():
        return
    with _alone(source) as alone:
        if not alone:
            return
        tail = _clean(source)
        if _worth_folding(source, tail.live):
            _fold(source, tail)
        elif len(small := _small(tail.live)) >= MERGE_AT:
            _merge(source, small)


def tidy_soon(source: Path) -> None:
    """Have a thread of this process tidy a source: now, and when its last segment has waited enough."""
    _tidiers.setdefault(source, _Tidier(source)).wake()


class _Tidier:
    """Tidies one source in a thread of its own, so that nobody who appends waits for it."""

    def __init__(self, source: Path) -> None:
        """Begin with the first call of `wake`."""
        self._source = source
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Say that something was appended."""
        with self._lock:
            self._wanted.set()
            if self._thread is None or not self._thread.is_alive():  # none yet, or in a fork
                # Ended by the end of the process at any moment, as `kill -9` may do it too.
                self._thread = threading.Thread(target=self._run, daemon=True, name="trivet-tidier")
                self._thread.start()

    def _run(self) -> None:
        while True:
            woken = self._wanted.wait(timeout=_due_in(self._source))
            self._wanted.clear()
            try:
                tidy(self._source)
            except Exception:  # noqa: BLE001 - the next time may go well, and appends go on
                _log.exception("Segments of %s could not be folded; none is lost.", self._source)
            with self._lock:
                if not woken and not self._wanted.is_set():
                    self._thread = None
                    return


_tidiers: dict[Path, _Tidier] = {}


def _due_in(source: Path) -> float:
    """Return the seconds until the segment that has waited longest is surely to be folded."""
    since = time.time()
    for segment in folder_of(source).glob("[0-9]*.parquet"):
        with contextlib.suppress(FileNotFoundError):  # folded meanwhile
            since = min(since, segment.stat().st_mtime)
    return _SURE_SECONDS + max(0.0, since + FOLD_SECONDS - time.time())


@contextmanager
def _alone(source: Path) -> Iterator[bool]:
    try:
        with FileLock(_lock(source), timeout=0):
            yield True
    except Timeout:
        yield False


def _lock(source: Path) -> Path:
    return folder_of(source) / ".folding"


def _clean(source: Path) -> Tail:
    """Remove what killed processes have left behind, and list the rest."""
    with locked(folder_of(source)):
        tail = tail_of(source)
        for segment in tail.replaced:
            segment.path.unlink()
    before = time.time() - _LEFT_SECONDS
    for hidden in folder_of(source).glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):  # it has got its name meanwhile
            if hidden.stat().st_mtime < before:
                hidden.unlink()
    return tail


def _worth_folding(source: Path, live: Sequence[Segment]) -> bool:
    if not live:
        return False
    found = [segment.path.stat() for segment in live]
    enough = max(FOLD_BYTES, FOLD_SHARE * source.stat().st_size)
    oldest = time.time() - min(stat.st_mtime for stat in found)
    return sum(stat.st_size for stat in found) >= enough or oldest >= FOLD_SECONDS


def _small(live: Sequence[Segment]) -> Sequence[Segment]:
    """Return the single appends at the end; what was merged once is left alone until it is folded."""
    singles = 0
    for segment in reversed(live):
        if segment.first != segment.last:
            break
        singles += 1
    return live[len(live) - singles :]


def _merge(source: Path, small: Sequence[Segment]) -> None:
    schema = schema_of(source)
    whole = segment_path(source, small[0].first, small[-1].last)
    hidden = whole.with_name(f".{whole.stem}.{os.getpid()}.part")
    newest_first = [_fitting(pq.ParquetFile(one.path).read(), schema) for one in reversed(small)]
    write_whole(hidden, pa.concat_tables(newest_first))
    # It has waited for as long as the oldest of them.
    oldest = min(one.path.stat().st_mtime for one in small)
    os.utime(hidden, (oldest, oldest))
    with locked(folder_of(source)):
        hidden.rename(whole)
        sync_folder(whole.parent)
        for segment in small:
            segment.path.unlink()


def _fold(source: Path, tail: Tail) -> bool:
    if not tail.live:
        return False
    hidden = folder_of(source) / f".{source.stem}.{os.getpid()}.part"
    try:
        _write(hidden, [*(one.path for one in reversed(tail.live)), source], tail.last)
        with locked(folder_of(source)):
            if mark_of(source) != tail.mark:  # written anew by somebody else
                return False
            hidden.replace(source)
            sync_folder(source.parent)
            for segment in tail.live:
                segment.path.unlink()
        return True
    finally:
        hidden.unlink(missing_ok=True)


def _write(to: Path, files: Sequence[Path], folded: int) -> None:
    schema = pq.read_schema(files[-1])
    with to.open("wb") as out:
        with pq.ParquetWriter(out, schema) as writer:
            for group in _groups(files, schema):
                writer.write_table(group, row_group_size=_ROWS)
            writer.add_key_value_metadata({FOLDED.decode(): str(folded)})
        out.flush()
        os.fsync(out.fileno())


def _groups(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    group: list[pa.Table] = []
    rows = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                group.append(_fitting(pa.Table.from_batches([batch]), schema))
                rows += batch.num_rows
                if rows >= _ROWS:
                    yield pa.concat_tables(group)
                    group, rows = [], 0
    if group:
        yield pa.concat_tables(group)


def schema_of(source: Path) -> pa.Schema:
    """Return the columns of a source's file, without what is written about them."""
    return pq.read_schema(source).remove_metadata()


def _fitting(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows in the columns that the source has now: it may have been written anew since."""
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
