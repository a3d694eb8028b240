"""What the two brokers have in common: options, and what a running process asks of either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trivet.stream.metrics import StreamMetrics
from trivet.stream.taken import Outlet, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How streams are read."""

    group: str
    consumer: str
    batch: int
    """Most messages that are taken together."""
    linger_seconds: float
    """Pause after a batch that was not full, in which the next one gathers."""
    idle_seconds: float
    """After these without a sign of life, what a consumer holds is taken over."""
    most_kept: int
    """Messages that a stream of predictions or dead letters keeps, about."""
    remember_seconds: int
    """For which an answered id is remembered at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream that is read, and where its messages end."""

    name: str
    dead: str
    out: str = ""
    """Of predictions; events have none."""


MakeRole = Callable[[Outlet, StreamMetrics], Role]
"""Makes what handles a stream's messages, given where they end and how they are counted."""


class Line(Protocol):
    """A connection to a broker, with the streams that are read over it."""

    def add(self, stream: Stream, make: MakeRole) -> None:
        """Read a stream from the start on; called before that."""
        ...

    async def start(self, stopping: asyncio.Event) -> bool:
        """Connect, however long it takes, and read; False where the process is to end before."""
        ...

    async def look(self) -> None:
        """Count what waits, and see to what was left; called about once a second.

        Raises:
            Exception: the broker does not answer.
        """
        ...

    async def stop(self) -> None:
        """Read no more, finish what was taken, and disconnect."""
        ...
