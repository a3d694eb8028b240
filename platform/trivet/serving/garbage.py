"""When a worker's garbage collector may stop it.

A full collection looks at every object of a worker: 100 ms and more on these heaps, while nothing is
answered. Python starts one whenever enough has come to stay, and what a worker keeps for a second or
two (cached rows, predictions that wait to be logged) counts as that: at 3,400 requests a second there
was one of 70 to 100 ms every 1.3 s. Requests leave no cycles behind, so those found nothing.

So full collections happen when nobody waits; the two younger generations are collected as always. A
worker that is never idle looks every ten minutes at what came since the last time, and at nothing else.

A version that a release has dropped needs no collection: it is freed when its last request is answered.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

_NEVER = 1_000_000_000
"""Collections of the middle generation before Python starts a full one of its own."""
_LOOK_SECONDS = 5.0
_MOST_SECONDS = 600.0
"""The longest that a worker which is never idle goes without a collection of its oldest objects."""


def settle() -> None:
    """Collect everything, and take what is left out of the collector's sight."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)


def settle_more() -> None:
    """Collect what came since the last settling, and take what is left of it out of sight too."""
    gc.collect()
    gc.freeze()


class Keeper:
    """Collects when a worker is idle, from a thread of its own."""

    def __init__(self, asked: Callable[[], int]) -> None:
        """`asked` says how many requests the worker has taken so far."""
        self._asked = asked
        self._stop = threading.Event()
        self._seen = self._collected = asked()
        self._at = time.monotonic()

    def start(self) -> None:
        """Settle now, and look every few seconds until `stop`."""
        settle()
        threading.Thread(target=self._run, name="trivet-garbage", daemon=True).start()

    def stop(self) -> None:
        """End the thread, and let Python see everything again, which it does once more at its end.

        What is out of its sight then is not taken down: DuckDB says so, in forty lines.
        """
        self._stop.set()
        gc.unfreeze()

    def look(self, now: float) -> bool:
        """Collect if the time is right, and say whether it was.

        It is once requests have come since the last time and none since the last look, or when it was
        never right for too long.
        """
        asked, before = self._asked(), self._seen
        self._seen = asked
        idle = asked == before and asked != self._collected
        if not idle and (asked == self._collected or now - self._at < _MOST_SECONDS):
            return False
        if idle:
            settle()
        else:
            settle_more()
        self._collected, self._at = asked, now
        return True

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self.look(time.monotonic())
