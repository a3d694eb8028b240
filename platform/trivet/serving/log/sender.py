"""The log of one worker, as the worker has it: entries go to a process of their own that writes them.

To turn predictions into columns takes as long as a tenth of answering them, and a thread that does so
takes the interpreter from the event loop whenever that has let go of it: p99 at half of the peak was
twice as long for it. The libraries for it took 100 MB of every worker too. What is left here is to
pickle entries and to write them to a pipe.

What is in the pipe is written even if this worker is killed: the process ends at the end of its input.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, cast

from trivet.serving.log.entry import Counts, Entry, sample
from trivet.serving.log.wire import Packer, frame, messages
from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

_LOOK_SECONDS = 0.02
_SLICE_ROWS = 64
"""Rows that are pickled at a time: some 200 us for which the interpreter is held."""
_PIPE_BYTES = 2**20
"""The most that Linux gives a pipe of an ordinary user's: some 2,000 rows, which outlive this worker.
A user's pipes have 64 MiB together (`fs.pipe-user-pages-soft`): those of further workers stay small."""
_AGAIN_SECONDS = 5.0
"""Between the end of a process and the start of the next: one that fails at once takes a core."""
_CLOSE_SECONDS = 30.0


class LogSender:
    """Takes entries from requests, and sends them to a process that it starts, from a thread."""

    def __init__(self, settings: Settings, model: str, counts: Counts) -> None:
        """Nothing is started before `start`."""
        self._settings = settings
        self._model = model
        self._counts = counts
        self._queue: deque[Entry] = deque()
        # Each is written by one thread alone, so none needs a lock.
        self._rows_in = 0
        self._rows_lost = 0
        self._rows_done = 0
        self._failing = False
        self._stop = threading.Event()
        self._receiver: _Receiver | None = None
        self._thread = threading.Thread(target=self._run, name="trivet-log", daemon=True)

    def start(self) -> None:
        """Start the process, which recovers what ended ones have left, and send from then on.

        One that cannot be started keeps no worker from answering: it is tried again.
        """
        try:
            self._receiver = self._started()
        except OSError as err:
            self._say_that_none_starts(err)
        self._thread.start()

    def record(self, entry: Entry) -> None:
        """Take a batch of requests; over the limit of rows that wait they are dropped and counted."""
        sample(entry, self._settings.log_sample)
        rows = entry.rows
        if not rows:
            return
        waiting = self._rows_in - self._rows_done - self._rows_lost
        if waiting + rows > self._settings.log_queue_rows:
            self._counts.unlogged(rows, "disk" if self._failing else "queue")
            return
        self._rows_in += rows
        self._queue.append(entry)

    def close(self) -> None:
        """Have everything written and the segments finished, and end the process."""
        self._stop.set()
        self._thread.join(2 * _CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            if not self._send():
                self._stop.wait(_AGAIN_SECONDS)
        self._send()
        if self._receiver is not None:
            self._receiver.finish()
            self._lose_what_it_had(self._receiver)
        if left := self._rows_in - self._rows_done - self._rows_lost:
            self._lose(left)
            log.error("%s: %d predictions could not be logged", self._model, left)

    def _send(self) -> bool:
        """Send what is queued; return whether there is a process for it.

        It waits in the pipe, and here while that is full.
        """
        try:
            receiver = self._running()
        except Exception as err:  # noqa: BLE001 - whatever it is, rows that come later are sent
            self._say_that_none_starts(err)
            return False
        while self._queue and receiver is not None and not receiver.gone:
            entries, rows = self._take()
            try:
                receiver.send(entries, rows)
            except BrokenPipeError:
                break  # those rows are its own by now: counted as lost with the others that it had
            except Exception:
                log.exception("%s: a prediction cannot be sent to the log", self._model)
                self._send_singly(receiver, entries)
        return True

    def _running(self) -> _Receiver | None:
        """Return the process, another in the place of one that has ended.

        What that one had is counted as lost now, though no request may come any more. None if this
        worker stops and has nothing left to send.

        Raises:
            Exception: none can be started: there is no memory, process, file or thread for it.
        """
        if (ended := self._receiver) is not None and ended.gone:
            log.error("%s: the process that writes the log has ended, another starts", self._model)
            self._receiver = None
            ended.finish()
            self._lose_what_it_had(ended)
            self._stop.wait(_AGAIN_SECONDS)
        if self._receiver is None and (self._queue or not self._stop.is_set()):
            self._receiver = self._started()
        return self._receiver

    def _say_that_none_starts(self, err: Exception) -> None:
        log.error("%s: the process that writes the log cannot be started: %r", self._model, err)

    def _send_singly(self, receiver: _Receiver, entries: list[Entry]) -> None:
        """Keep an entry that cannot be pickled from taking those with it that were taken with it."""
        for entry in entries:
            try:
                receiver.send([entry], entry.rows)
            except BrokenPipeError:
                continue
            except Exception:  # noqa: BLE001 - said above, whatever it is
                self._rows_lost += entry.rows
                self._counts.unlogged(entry.rows, "unfit")

    def _take(self) -> tuple[list[Entry], int]:
        """Take entries of about a slice's rows."""
        taken, rows = [], 0
        while self._queue and rows < _SLICE_ROWS:
            taken.append(self._queue.popleft())
            rows += taken[-1].rows
        return taken, rows

    def _lose_what_it_had(self, receiver: _Receiver) -> None:
        if left := receiver.left:
            self._lose(left)

    def _lose(self, rows: int) -> None:
        self._rows_lost += rows
        self._counts.unlogged(rows, "disk" if self._failing else "process")

    def _started(self) -> _Receiver:
        return _Receiver(self._settings, self._model, self._hear)

    def _hear(self, said: str, rows: int, reason: str) -> None:
        """Take what the process says, in the thread that listens to it."""
        if said == "failing":
            self._failing = bool(rows)
            return
        self._rows_done += rows
        if said == "logged":
            self._counts.logged(rows)
        else:
            self._counts.unlogged(rows, reason)


class _Receiver:
    """The process at the other end, and how many rows it has not said what became of."""

    def __init__(
        self, settings: Settings, model: str, hear: Callable[[str, int, str], None]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trivet.serving.log.receiver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A signal to the worker's group is not for it: it ends at the end of its input.
            start_new_session=True,
        )
        self._input = cast("BinaryIO", self._process.stdin)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._input, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._output = cast("BinaryIO", self._process.stdout)
        self._hear = hear
        self._packer = Packer()
        self._sent = 0
        self._told = 0
        self.gone = False
        self._listener = threading.Thread(target=self._listen, name="trivet-log-ear", daemon=True)
        self._listener.start()
        self._write(frame((settings, model)))

    @property
    def left(self) -> int:
        """Rows that it got and did not say what became of."""
        return self._sent - self._told

    def send(self, entries: list[Entry], rows: int) -> None:
        """Write entries to its input; waits while the pipe is full.

        Raises:
            BrokenPipeError: it has ended.
            Exception: a value cannot be pickled; nothing was sent.
        """
        packed = self._packer.pack(entries)
        self._sent += rows
        self._write(packed)

    def finish(self) -> None:
        """End its input, and wait until it has written everything."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._output.close()

    def _write(self, packed: bytes) -> None:
        try:
            self._input.write(packed)
            self._input.flush()
        except BrokenPipeError:
            self.gone = True
            raise

    def _listen(self) -> None:
        for said, rows, reason in messages(self._output):
            if said != "failing":
                self._told += rows
            self._hear(said, rows, reason)
        self.gone = True
