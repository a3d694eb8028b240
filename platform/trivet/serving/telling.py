"""What changes with every request is told now and then, from a thread of its own.

It stands in files that the workers share, and to write there for each request costs a tenth of it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

log = logging.getLogger("trivet.serving")

_LOOK_SECONDS = 0.1


class Told(Protocol):
    """Takes what is told; `trivet.serving.metrics.Metrics` in a service."""

    def flush(self) -> None:
        """Write down what has been answered."""
        ...

    def in_flight(self, requests: int) -> None:
        """Say how many requests this worker has under way."""
        ...


class Telling:
    """Tells what was answered, and how many requests a worker has under way.

    The latter is for whoever decides how many workers there should be.
    """

    def __init__(self, metrics: Told, in_flight: Callable[[], int]) -> None:
        """`in_flight` says how many requests are under way; that is told when it is another number."""
        self._metrics = metrics
        self._in_flight = in_flight
        self._stop = threading.Event()
        self._told: int | None = None
        self._thread = threading.Thread(target=self._run, name="trivet-telling", daemon=True)

    def start(self) -> None:
        """Tell now, and ten times a second until `stop`."""
        forget_the_dead()
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left, and end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.look()

    def look(self) -> None:
        """Tell what is new."""
        self._metrics.flush()
        count = self._in_flight()
        if count != self._told:
            self._metrics.in_flight(count)
            self._told = count

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # as where the disk of the shared files is full
                log.exception("numbers could not be told; the next ones may")


def forget_the_dead() -> None:
    """Remove what workers that were killed have left of gauges that add up the living.

    BentoML removes that at an orderly end. After `kill -9` nobody does, and the requests that the
    worker had under way would count for as long as the service runs; the one that takes its place
    calls this.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        process = file.stem.rpartition("_")[2]
        if not _lives(int(process)):
            file.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
