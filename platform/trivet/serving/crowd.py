"""Requests that arrive together are read and predicted together; one that comes alone never waits.

Nothing here waits for a crowd to come. A batch is whatever has arrived by the time that there is a
hand free: in one turn of the event loop, or while the store was read or a model was busy. Under load
batches grow by themselves, since more arrives meanwhile.

    ask -> rows all in the cache? -> ready -> answered in the event loop, or by a thread
                 no |                 ^
                    +-> unread -> read by a thread, one batched read at a time
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trivet.canary.state import Canary, Shadow
from trivet.clock import Clock
from trivet.errors import FeaturesUnavailable
from trivet.features.values import Found, Keys
from trivet.serving.answering import Batch, Outcome, answer
from trivet.serving.apart import Apart
from trivet.serving.asking import Asked, join
from trivet.serving.loaded import Version


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """One checked request on its way; `answered` is set to what came of it."""

    version: Version
    asked: Asked
    answered: asyncio.Future[Any]
    request_id: str
    route: str
    started: float
    """By `time.perf_counter`, as is the next."""
    validated: float
    found: Found = ()
    unread: bool = False
    """Whether its features are still waited for, and until when, by the event loop's clock."""
    deadline: float = 0.0
    ready: float = 0.0
    """When its features were in place, if it then waited for a thread; by `time.perf_counter`."""
    measured: Canary | None = None
    """The canary that runs meanwhile."""
    canary: Version | None = None
    """The version that is to answer it in the champion's place."""
    shadow: tuple[Shadow, Version] | None = None
    """The one that is to compute it too."""
    instances: list[Any] | None = None
    """As they were sent, for those two."""
    held: Any = None
    """The champion's answer, while the canary is tried."""


Done = Callable[[Sequence[Ticket], Batch, Outcome], None]
"""Told what came of a batch, in the event loop."""


class Crowd:
    """Gathers tickets into batches; all of it runs in the event loop but for reads and slow models."""

    def __init__(self, clock: Clock, limit: float, most_rows: int, done: Done) -> None:
        """Two threads: a model that is slow does not wait for a store that hangs, nor a worker to end.

        Feast's SQLite store has one connection, and a predictor is given one thread: more threads
        would only wait.

        Args:
            clock: dates a batch.
            limit: seconds that a request waits for its features.
            most_rows: of one batch; a request with more is a batch of its own.
            done: is told each batch.
        """
        self._clock = clock
        self._limit = limit
        self._most_rows = most_rows
        self._done = done
        self._reads = Apart("trivet-read")
        self._work = Apart("trivet-predict")
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._ready: deque[Ticket] = deque()
        self._unread: deque[Ticket] = deque()
        self._limited: deque[Ticket] = deque()
        self._slow: deque[Ticket] = deque()
        self._turn_due = self._reading = self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def join(self, ticket: Ticket) -> None:
        """Take a ticket; called in the event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        found = ticket.version.recall(ticket.asked, self._clock())
        if found is None:
            ticket.unread, ticket.deadline = True, loop.time() + self._limit
            self._unread.append(ticket)
            self._limited.append(ticket)
            if self._timer is None:
                self._timer = loop.call_at(ticket.deadline, self._expire)
        else:
            ticket.found = found
            self._ready.append(ticket)
        self._take_turn()

    async def read_apart(self, function: Callable[[datetime], Any]) -> None:
        """Run something else that reads the store in the thread for that, within the limit.

        Raises:
            FeaturesUnavailable: it takes longer.
        """
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(
                loop.run_in_executor(self._reads, function, self._clock()), self._limit
            )
        except TimeoutError as err:
            raise _too_late(self._limit) from err

    def fetch_apart(self, version: Version, keys: Keys, at: datetime) -> Found:
        """Read features in the thread for that; called in another thread, which waits for it.

        Raises:
            FeaturesUnavailable: it takes longer than a request waits.
        """
        read = self._reads.submit(version.fetch, keys, at)
        try:
            return read.result(self._limit)
        except TimeoutError as err:
            read.cancel()  # else it would stand before the reads of requests once the store answers
            raise _too_late(self._limit) from err

    def _take_turn(self) -> None:
        """Look for work once this turn's arrivals are all here."""
        if not self._turn_due and self._loop is not None:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if self._unread and not self._reading:
            self._read(self._take(self._unread))
        if self._ready:
            tickets = self._take(self._ready)
            if tickets:
                self._answer(tickets, _joined(tickets), self._clock())
            if self._ready:
                self._take_turn()

    def _take(self, queue: deque[Ticket]) -> list[Ticket]:
        """Take tickets for one version, up to the most rows; those that nobody waits for are left."""
        taken: list[Ticket] = []
        rows = 0
        while queue:
            ticket = queue[0]
            if not ticket.answered.done():
                rows += ticket.asked.rows
                if taken and (rows > self._most_rows or ticket.version is not taken[0].version):
                    break
                taken.append(ticket)
            queue.popleft()
        return taken

    def _read(self, tickets: list[Ticket]) -> None:
        if not tickets or self._loop is None:
            return
        self._reading = True
        at = self._clock()
        keys = join([ticket.asked for ticket in tickets]).keys
        read = self._loop.run_in_executor(self._reads, tickets[0].version.fetch, keys, at)
        read.add_done_callback(lambda done: self._has_read(tickets, at, done))

    def _has_read(self, tickets: list[Ticket], at: datetime, done: asyncio.Future[Found]) -> None:
        self._reading = False
        for ticket in tickets:
            ticket.unread = False
        while self._limited and not self._limited[0].unread:
            self._limited.popleft()
        error = done.exception()
        if error is None:
            self._answer(tickets, done.result(), at)
        else:
            for ticket in tickets:
                _fail(ticket, error)
        self._look_again()

    def _look_again(self) -> None:
        """See whether what has waited for a read came into the cache with it."""
        waiting, self._unread = self._unread, deque()
        for ticket in waiting:
            found = ticket.version.recall(ticket.asked, self._clock())
            if found is None:
                self._unread.append(ticket)
            else:
                ticket.found, ticket.unread = found, False
                self._ready.append(ticket)
        if waiting or self._ready:
            self._take_turn()

    def _answer(self, tickets: list[Ticket], found: Found, at: datetime) -> None:
        version, asked = tickets[0].version, [ticket.asked for ticket in tickets]
        if sum(one.rows for one in asked) <= min(version.quick_rows, self._most_rows):
            batch = Batch(version=version, asked=asked, found=found, at=at)
            self._done(tickets, batch, answer(batch))
            return
        start, now = 0, time.perf_counter()
        for ticket in tickets:
            ticket.ready = now
            end = start + ticket.asked.rows
            ticket.found = [of_view[start:end] for of_view in found]
            start = end
        self._slow += tickets
        self._work_on()

    def _work_on(self) -> None:
        """Hand the thread what has gathered while it was busy."""
        if self._busy or self._loop is None:
            return
        tickets = self._take(self._slow)
        if not tickets:
            return
        self._busy = True
        batch = Batch(
            version=tickets[0].version,
            asked=[ticket.asked for ticket in tickets],
            found=_joined(tickets),
            at=self._clock(),
        )
        work = self._loop.run_in_executor(self._work, answer, batch)
        work.add_done_callback(lambda done: self._has_worked(tickets, batch, done))

    def _has_worked(
        self, tickets: list[Ticket], batch: Batch, done: asyncio.Future[Outcome]
    ) -> None:
        self._busy = False
        self._done(tickets, batch, done.result())
        self._work_on()

    def _expire(self) -> None:
        """Give up for those whose features have not come in time."""
        self._timer = None
        if self._loop is None:
            return
        now = self._loop.time()
        while self._limited and (not self._limited[0].unread or self._limited[0].deadline <= now):
            ticket = self._limited.popleft()
            if ticket.unread:
                _fail(ticket, _too_late(self._limit))
        if self._limited:
            self._timer = self._loop.call_at(self._limited[0].deadline, self._expire)


def _fail(ticket: Ticket, error: BaseException) -> None:
    if not ticket.answered.done():
        ticket.answered.set_exception(error)


def _joined(tickets: Sequence[Ticket]) -> Found:
    if len(tickets) == 1:
        return tickets[0].found
    return [
        [row for rows in of_view for row in rows]
        for of_view in zip(*(ticket.found for ticket in tickets), strict=True)
    ]


def _too_late(limit: float) -> FeaturesUnavailable:
    return FeaturesUnavailable(
        f"The feature store did not answer within {limit:g} s.",
        hint="TRIVET_FEATURE_TIMEOUT_SECONDS is that limit.",
    )
