"""What this worker counts of a canary and a shadow, and whether the canary goes on here.

A thread looks at the host's verdict ten times a second, and every third time writes the worker's
figures to the host's shelf and holds them against the canary's limits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.canary.limits import broken
from trivet.canary.state import Canary, Kind, Shadow
from trivet.canary.tally import (
    Figures,
    Tallies,
    bucket,
    read_verdict,
    verdict_mark,
    write_tallies,
)
from trivet.serving.likeness import Likeness

if TYPE_CHECKING:
    from trivet.serving.trial_metrics import TrialMetrics

_LOOK_SECONDS = 0.1
_WRITE_EVERY = 3
log = logging.getLogger("trivet.serving")


class TrialCounts:
    """Figures of one worker, by the ledger's entry that began what they are of."""

    def __init__(
        self,
        folder: Path,
        live: Callable[[], Canary | None],
        metrics: TrialMetrics | None = None,
    ) -> None:
        """`folder`: the shelf's for this; `live`: the canary now; `metrics`: counted along."""
        self._folder = folder
        self._live = live
        self._metrics = metrics
        self._name = f"{os.getpid()}-{time.time_ns():x}"
        self._lock = threading.Lock()
        self._figures: dict[Kind, Figures] = {}
        self._ended: set[str] = set()
        self._broken: str | None = None
        self._mark = 0
        self._shown: float | None = None
        self._changed = False
        self._stop = threading.Event()

    def start(self) -> None:
        """Look at the verdict, then again and again in a thread until `stop`."""
        self.look()
        threading.Thread(target=self._run, name="trivet-tally", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def runs(self, canary: Canary) -> bool:
        """Say whether a canary takes requests: it was set back neither here nor on this host."""
        return canary.entry is not None and canary.entry not in self._ended

    def computed(
        self, state: Canary | Shadow, seconds: float, failed: str | None, alike: Likeness | None
    ) -> None:
        """Count one request of a canary or a shadow; `failed` says how it did."""
        kind: Kind = "canary" if isinstance(state, Canary) else "shadow"
        with self._lock:
            figures = self._of(kind, state.entry or "")
            figures.requests += 1
            number = bucket(seconds)
            figures.took[number] = figures.took.get(number, 0) + 1
            if failed is not None:
                figures.errors[failed] = figures.errors.get(failed, 0) + 1
            if alike is not None:
                figures.rows += alike.rows
                figures.unlike += alike.unlike
                figures.difference += alike.difference
        if self._metrics is not None:
            self._metrics.computed(kind, seconds, failed or "compared", alike)

    def dropped(self, state: Shadow) -> None:
        """Count one request that the shadow had no time for."""
        with self._lock:
            self._of("shadow", state.entry or "").dropped += 1
        if self._metrics is not None:
            self._metrics.dropped()

    def champion(self, state: Canary, seconds: float, times: int) -> None:
        """Count requests of the champion, whose latency a canary is compared with."""
        with self._lock:
            took = self._of("canary", state.entry or "").champion_took
            number = bucket(seconds)
            took[number] = took.get(number, 0) + times
        if self._metrics is not None:
            self._metrics.champion(seconds, times)

    def look(self) -> None:
        """See whether the host's verdict has changed, and show the share that is live."""
        mark = verdict_mark(self._folder)
        if mark != self._mark:
            self._mark = mark
            verdict = read_verdict(self._folder)
            if verdict is not None:
                self._end(verdict.entry, verdict.sentence)
        self._show()

    def write(self) -> None:
        """Hold the figures against the limits, and put them on the shelf if they have changed."""
        with self._lock:
            changed, self._changed = self._changed, False
            copies = {kind: one.model_copy(deep=True) for kind, one in self._figures.items()}
        if not changed:
            return
        canary = self._live()
        own = copies.get("canary")
        if own is not None and canary is not None and own.entry == canary.entry:
            self._broken = self._broken or broken(canary.limits, own)
            if self._broken is not None:
                self._end(own.entry, self._broken)
        tallies = Tallies(canary=own, shadow=copies.get("shadow"), broken=self._broken)
        write_tallies(self._folder, self._name, tallies)

    def _of(self, kind: Kind, entry: str) -> Figures:
        self._changed = True
        figures = self._figures.get(kind)
        if figures is None or figures.entry != entry:
            figures = self._figures[kind] = Figures(entry=entry)
            if kind == "canary":
                self._broken = None
        return figures

    def _end(self, entry: str, why: str) -> None:
        if entry not in self._ended:
            self._ended.add(entry)
            log.warning("the canary gets no requests here any more: %s", why)

    def _show(self) -> None:
        canary = self._live()
        share = 0.0 if canary is None or canary.entry in self._ended else canary.percent
        if self._metrics is not None and share != self._shown:
            self._metrics.percent(share)
        self._shown = share

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(_LOOK_SECONDS):
            turn += 1
            try:
                self.look()
                if turn % _WRITE_EVERY == 0:
                    self.write()
            except Exception:
                log.exception("the figures of a canary or shadow could not be written")
