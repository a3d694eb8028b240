"""How long to wait before something that is down is asked again, and when to stop asking."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 5.0

log = logging.getLogger("trivet.stream")


class Patience:
    """One wait after the other, each twice as long, up to five seconds; ended by a stop."""

    def __init__(self, stopping: asyncio.Event, what: str) -> None:
        """`what`: that is tried, for the log."""
        self._stopping = stopping
        self._what = what
        self._seconds = _FIRST_SECONDS
        self._said = ""

    @property
    def ended(self) -> bool:
        """Whether the process is to end."""
        return self._stopping.is_set()

    async def wait(self, why: BaseException) -> bool:
        """Wait once more; return False as soon as the process is to end.

        The same reason is logged once.
        """
        if (said := f"{type(why).__name__}: {why}") != self._said:
            self._said = said
            log.warning("%s: %s; trying again until it works", self._what, said)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._seconds)
        self._seconds = min(2 * self._seconds, _MOST_SECONDS)
        return not self.ended

    def worked(self) -> None:
        """Say that it works again, if it did not."""
        if self._said:
            log.warning("%s: works again", self._what)
            self._said = ""
        self._seconds = _FIRST_SECONDS


async def until_done(
    attempt: Callable[[], Awaitable[T]],
    stopping: asyncio.Event,
    what: str,
    failed: Callable[[], None] | None = None,
) -> T | None:
    """Attempt something until it does not raise; None where the process is to end first.

    It is attempted once even then. `failed` is called each time that it raises.
    """
    patience = Patience(stopping, what)
    while True:
        try:
            done = await attempt()
        except Exception as err:  # noqa: BLE001 - whatever a broker's client raises, it is not there
            if failed is not None:
                failed()
            if not await patience.wait(err):
                return None
        else:
            patience.worked()
            return done
