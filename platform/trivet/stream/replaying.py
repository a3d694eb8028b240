"""The clock of a replay: the past is predicted as of the moments at which it was asked."""

from __future__ import annotations

from datetime import datetime

from trivet.clock import Clock, system_clock


class ReplayClock:
    """Stands at the latest moment that it was told, and never goes back."""

    def __init__(self, otherwise: Clock = system_clock) -> None:
        """`otherwise`: what it says before it was told any moment."""
        self._otherwise = otherwise
        self._now: datetime | None = None

    def __call__(self) -> datetime:
        """Return the moment."""
        return self._otherwise() if self._now is None else self._now

    def advance(self, moment: datetime) -> None:
        """Go on to a moment, if it is a later one."""
        if self._now is None or moment > self._now:
            self._now = moment
