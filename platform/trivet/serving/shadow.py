"""A shadow computes what the champion has answered, after it was answered, and answers nothing.

It computes in a thread of its own. Rows that it cannot take over from the champion it has read by the
thread that reads for requests, one batch at a time: a request that needs a read may wait for one.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass

from trivet.canary.state import Shadow
from trivet.serving.beside import Fetch, Work, compute
from trivet.serving.loaded import Version
from trivet.serving.trial_counts import TrialCounts

_MOST_WAITING = 256
_LEAST_PAUSE_SECONDS = 0.001
_SAY_AGAIN_SECONDS = 60.0
log = logging.getLogger("trivet.serving")


@dataclass(slots=True, kw_only=True)
class _Shadowed:
    state: Shadow
    version: Version
    work: Work


class Shadowing:
    """A bounded queue, and the thread that works on it; what does not fit is dropped and counted."""

    def __init__(self, counts: TrialCounts, fetch: Fetch, most_rows: int) -> None:
        """`most_rows`: computed at once; the thread starts with the first request."""
        self._counts = counts
        self._fetch = fetch
        self._most_rows = most_rows
        self._queue: queue.Queue[_Shadowed | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._said = 0.0

    def take(self, state: Shadow, version: Version, work: Work) -> None:
        """Queue a request; never waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trivet-shadow", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(_Shadowed(state=state, version=version, work=work))
        except queue.Full:
            self._counts.dropped(state)

    def stop(self) -> None:
        """End the thread; what waits is not computed."""
        while self._thread is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                self._queue.get_nowait()
            else:
                self._thread = None

    def _run(self) -> None:
        ahead: _Shadowed | None = self._queue.get()
        while ahead is not None:
            taken = [ahead]
            ahead = self._gather(taken)
            try:
                self._compute(taken)
            except Exception:
                log.exception("a shadow could not be computed")
            if ahead is taken[-1]:
                ahead = self._queue.get()

    def _gather(self, taken: list[_Shadowed]) -> _Shadowed | None:
        """Add what waits for the same version; return the next one, or the last of these."""
        rows = len(taken[0].work.instances)
        while True:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return taken[-1]
            if following is None:
                return None
            rows += len(following.work.instances)
            if rows > self._most_rows or following.version is not taken[0].version:
                return following
            taken.append(following)

    def _compute(self, taken: list[_Shadowed]) -> None:
        state, version = taken[0].state, taken[0].version
        done = compute(version, [one.work for one in taken], self._fetch, state.tolerance)
        if done.causes and time.monotonic() - self._said > _SAY_AGAIN_SECONDS:
            self._said = time.monotonic()
            log.warning("a shadow fails: %s", done.causes[0], exc_info=done.causes[0])
        for place, one in enumerate(taken):
            failed = done.failed.get(place)
            self._counts.computed(one.state, done.seconds, failed, done.alike.get(place))
        # Requests come first: between two batches the interpreter is theirs.
        time.sleep(_LEAST_PAUSE_SECONDS)
