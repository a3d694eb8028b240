"""The process that writes one worker's log: `python -m trivet.serving.log.receiver`.

Entries come on standard input, what became of their rows goes to standard output, and the end of the
input is the end of this process: it comes however the worker ends, `kill -9` included.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
from importlib.abc import MetaPathFinder
from typing import BinaryIO

from trivet.priority import give_way
from trivet.serving.log.wire import Refused, Unpacker, frame, messages
from trivet.serving.log.writer import PredictionLog
from trivet.settings import Settings

_YOUNG = 100_000
"""New objects that start a garbage collection: more than a slice of rows has, which are freed once
it is written. By Python's 700 each was looked at up to three times: a quarter of the work here."""


class Teller:
    """Tells the worker what became of rows; `trivet.serving.log.entry.Counts` in this process."""

    def __init__(self, to: BinaryIO) -> None:
        """Two threads tell: the one that reads, and the one that writes."""
        self._to = to
        self._lock = threading.Lock()

    def logged(self, rows: int) -> None:
        """Tell of rows that were flushed."""
        self._tell("logged", rows, "")

    def unlogged(self, rows: int, reason: str) -> None:
        """Tell of rows that were lost."""
        self._tell("unlogged", rows, reason)

    def failing(self, why: OSError | None) -> None:
        """Tell whether the disk refuses."""
        self._tell("failing", int(why is not None), "")

    def _tell(self, said: str, rows: int, reason: str) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError):  # the worker was killed
            self._to.write(frame((said, rows, reason)))
            self._to.flush()


class _WithoutPandas(MetaPathFinder):
    """Keeps pyarrow from importing pandas at its first array.

    It does so where it can, to know pandas' nulls: half a second and 30 MB for what no entry holds.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise for pandas; leave the rest to the others."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def main() -> None:
    """Write what comes until nothing comes any more."""
    give_way()
    gc.set_threshold(_YOUNG)
    _end_with_the_input()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [log] %(message)s")
    logging.getLogger("trivet").setLevel(logging.INFO)
    teller = Teller(sys.stdout.buffer)
    sys.stdout = sys.stderr  # what anybody prints is no answer
    sys.meta_path.insert(0, _WithoutPandas())
    settings, model = next(messages(sys.stdin.buffer), (None, ""))
    if settings is None:
        return
    written = _start(settings, model, teller)
    for entries in messages(sys.stdin.buffer, Unpacker().unpack):
        if isinstance(entries, Refused):
            written.refuse(entries.rows, entries.why)
            continue
        for entry in entries:
            written.record(entry)
    written.close()


def _start(settings: Settings, model: str, teller: Teller) -> PredictionLog:
    started = PredictionLog(settings, model, teller, on_failing=teller.failing)
    started.start()
    return started


def _end_with_the_input() -> None:
    """Take no signal for the end: what the worker has still to say would be lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    main()
