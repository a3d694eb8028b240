"""What writes the log of one worker: a bounded queue, and a thread that turns it into segments."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import groupby

import pyarrow as pa

from trivet.clock import Clock, system_clock
from trivet.logged import LOG_TIMESTAMP, log_folder
from trivet.serving.log.entry import Counts, Entry, sample
from trivet.serving.log.rows import Rows
from trivet.serving.log.segment import Segment, recover
from trivet.serving.log.sweep import remove_expired
from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

_LOOK_SECONDS = 0.05
_SLICE_ROWS = 512
"""Rows that make a batch of their own before a flush is due: Arrow's cost a batch is paid off, and few
objects live long enough for the garbage collector to go through them."""
_SWEEP_SECONDS = 60.0
_RETRY_SECONDS = 10.0
"""How long a segment that could not be finished is left alone."""
_CLOSE_SECONDS = 30.0


class PredictionLog:
    """Takes entries from requests, and writes them in a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        counts: Counts,
        clock: Clock = system_clock,
        *,
        on_failing: Callable[[OSError | None], None] = lambda _: None,
    ) -> None:
        """Nothing is written before `start`.

        Args:
            settings: of the project.
            model: whose log it is.
            counts: is told what became of rows.
            clock: is asked for the retention.
            on_failing: is told why the disk refuses, when it begins to, and None when it takes again.
        """
        self._settings = settings
        self._model = model
        self._folder = log_folder(settings.home, model)
        self._counts = counts
        self._clock = clock
        self._on_failing = on_failing
        self._queue: deque[Entry] = deque()
        # Each is written by one thread alone, so neither needs a lock.
        self._rows_in = 0
        self._rows_out = 0
        self._sampled = settings.log_sample
        self._most = settings.log_queue_rows
        self._enough = min(_SLICE_ROWS, max(1, self._most // 2))
        self._rows: dict[str, Rows] = {}
        self._ready: deque[tuple[str, pa.RecordBatch]] = deque()
        self._segments: dict[str, Segment] = {}
        self._not_before: dict[str, float] = {}
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trivet-log", daemon=True)

    def start(self) -> None:
        """Recover what ended workers have left, and write from then on."""
        self._thread.start()

    def record(self, entry: Entry) -> None:
        """Take a batch of requests; over the queue's limit its rows are dropped and counted."""
        sample(entry, self._sampled)
        rows = entry.rows
        if not rows:
            return
        if self._rows_in - self._rows_out + rows > self._most:
            self._counts.unlogged(rows, "disk" if self._failing else "queue")
            return
        self._rows_in += rows
        self._queue.append(entry)

    def refuse(self, rows: int, why: Exception) -> None:
        """Count rows that came in a form which cannot be read."""
        log.error("%s: %d predictions cannot be read for the log: %s", self._model, rows, why)
        self._counts.unlogged(rows, "unfit")

    def close(self) -> None:
        """Write what is queued, finish the segments, and end the thread."""
        self._stop.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        self._guarded(self._sweep)
        flushed, swept = -1e9, time.monotonic()
        while not self._stop.wait(_LOOK_SECONDS):
            now = time.monotonic()
            due = now - flushed >= self._settings.log_flush_seconds
            if due or (self._rows_in - self._rows_out >= self._enough and not self._failing):
                flushed = now
                self._guarded(self._flush)
                self._guarded(self._rotate)
            if now - swept >= _SWEEP_SECONDS:
                swept = now
                self._guarded(self._sweep)
        self._guarded(self._flush)
        self._finish_all()

    def _flush(self) -> None:
        """Write what is queued by now; what cannot be written stays queued.

        Raises:
            OSError: the disk refuses.
        """
        until = self._rows_in
        while self._rows_out < until:
            if not self._ready:
                self._convert(self._take())
            while self._ready:
                digest, batch = self._ready[0]
                self._segment(digest, batch).append(batch)
                self._ready.popleft()
                self._rows_out += batch.num_rows
                self._counts.logged(batch.num_rows)
                self._resumed()

    def _take(self) -> list[Entry]:
        """Take entries of about a slice's rows."""
        taken, rows = [], 0
        while self._queue and rows < _SLICE_ROWS:
            taken.append(self._queue.popleft())
            rows += taken[-1].rows
        return taken

    def _convert(self, entries: list[Entry]) -> None:
        for digest, group in groupby(entries, key=lambda entry: entry.digest):
            same = list(group)
            rows = self._rows.get(digest)
            if rows is None:
                rows = self._rows[digest] = Rows(same[0].contract, digest)
            try:
                self._ready.append((digest, rows.batch(same)))
            except Exception:
                log.exception("%s: a prediction does not fit its contract's log", self._model)
                self._convert_singly(rows, digest, same)

    def _convert_singly(self, rows: Rows, digest: str, entries: list[Entry]) -> None:
        """Keep an entry that has no rows from taking those with it that were converted with it."""
        for entry in entries:
            try:
                self._ready.append((digest, rows.batch([entry])))
            except Exception:  # noqa: BLE001 - said above, whatever it is
                self._rows_out += entry.rows
                self._counts.unlogged(entry.rows, "unfit")

    def _segment(self, digest: str, batch: pa.RecordBatch) -> Segment:
        if digest not in self._segments:
            first = batch.column(LOG_TIMESTAMP)[0].as_py()
            self._segments[digest] = Segment.create(self._folder, batch.schema, digest, first)
        return self._segments[digest]

    def _rotate(self) -> None:
        now = time.monotonic()
        for digest, segment in list(self._segments.items()):
            full = segment.rows >= self._settings.log_segment_rows
            old = now - segment.since >= 60 * self._settings.log_segment_minutes
            if (full or old) and now >= self._not_before.get(digest, now):
                self._not_before[digest] = now + _RETRY_SECONDS
                segment.finish()
                del self._segments[digest], self._not_before[digest]
                # A contract that is still used is learnt again; one of a dropped version is not kept.
                self._rows.pop(digest, None)

    def _sweep(self) -> None:
        if recovered := recover(self._folder):
            log.info("%s: %d log segment(s) of ended workers recovered", self._model, recovered)
        kept = timedelta(days=self._settings.log_retention_days)
        remove_expired(self._folder, self._clock() - kept)

    def _finish_all(self) -> None:
        if lost := self._rows_in - self._rows_out:
            self._counts.unlogged(lost, "disk")
            log.error("%s: %d predictions could not be logged", self._model, lost)
        for segment in self._segments.values():
            try:
                segment.finish()
            except OSError:
                segment.leave()
        self._segments.clear()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step; a disk that refuses is said once, and tried again."""
        try:
            step()
        except OSError as err:
            if not self._failing:
                log.error("%s: the prediction log cannot be written: %s", self._model, err)  # noqa: TRY400
                self._on_failing(err)
            self._failing = True
        except Exception:
            log.exception("%s: the prediction log failed", self._model)

    def _resumed(self) -> None:
        if self._failing:
            self._failing = False
            self._on_failing(None)
            log.warning("%s: the prediction log is written again", self._model)
