"""Add up what this host's workers count of a canary, and set it back when a limit is broken.

It needs no MLflow: the verdict is a file that the workers look at ten times a second. The ledger's
entry and the tag follow when MLflow answers.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from trivet.canary.limits import broken
from trivet.canary.state import Canary
from trivet.canary.tally import (
    Figures,
    Verdict,
    added_up,
    read_tallies,
    read_verdict,
    sweep_tallies,
    write_verdict,
)
from trivet.clock import Clock, system_clock
from trivet.live import Shelf

log = logging.getLogger(__name__)


class Judge:
    """Watches the canary that is live on this host."""

    def __init__(self, shelf: Shelf, clock: Clock = system_clock) -> None:
        """`clock`: of the verdict and of the window."""
        self._shelf = shelf
        self._clock = clock
        self._seen: deque[tuple[float, Figures]] = deque()
        self._said = ""

    def look(self) -> None:
        """Judge once; never raises: it is called again in half a second."""
        try:
            live = self._shelf.read_live()
            if live is not None and live.canary is not None and live.canary.entry is not None:
                self._judge(live.canary, live.canary.entry)
                self._said = ""
        except Exception as err:
            if (said := str(err)) != self._said:
                self._said = said
                log.exception("%s: its canary could not be judged", self._shelf.model)

    def verdict(self, canary: Canary) -> Verdict | None:
        """Return why this canary was set back on this host, or None."""
        verdict = read_verdict(self._shelf.canary)
        return verdict if verdict is not None and verdict.entry == canary.entry else None

    def figures(self, entry: str) -> Figures:
        """Return what all workers of this host have counted of a canary."""
        return added_up((one.canary for one in read_tallies(self._shelf.canary)), entry)

    def _judge(self, canary: Canary, entry: str) -> None:
        if self.verdict(canary) is not None:
            return
        sweep_tallies(self._shelf.canary)
        total = self.figures(entry)
        found = (
            self._by_a_worker(entry)
            or broken(canary.limits, total)
            or broken(canary.limits, self._recent(canary, total))
        )
        if found is None:
            return
        verdict = Verdict(
            entry=entry, version=canary.version, at=self._clock(), sentence=found, figures=total
        )
        write_verdict(self._shelf.canary, verdict)
        log.error("%s: canary %d is set back to 0: %s", self._shelf.model, canary.version, found)

    def _by_a_worker(self, entry: str) -> str | None:
        return next(
            (
                one.broken
                for one in read_tallies(self._shelf.canary)
                if one.broken is not None and one.canary is not None and one.canary.entry == entry
            ),
            None,
        )

    def _recent(self, canary: Canary, total: Figures) -> Figures:
        """Return what came within the window."""
        now, seen = time.monotonic(), self._seen
        if seen and seen[-1][1].entry != total.entry:
            seen.clear()
        seen.append((now, total))
        while len(seen) > 1 and seen[1][0] <= now - canary.limits.window_seconds:
            seen.popleft()
        return total.plus(seen[0][1], -1)
