"""A canary answers its share of the requests, with the champion's answer always in hand.

    champion has answered -> canary computes on the same rows, in a thread of its own -> its answer
                                                  late, raised, refused, not finite -> the champion's

Only one thread works for the canary: one that is slow or hangs holds up its own share, and each of
those for no longer than its time limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from trivet.canary.state import Canary
from trivet.serving.answering import Answers, Batch
from trivet.serving.apart import Apart
from trivet.serving.beside import Beside, Fetch, Work, compute
from trivet.serving.crowd import Ticket
from trivet.serving.documents import Answer, documents
from trivet.serving.likeness import Likeness
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Answered
from trivet.serving.trial_counts import TrialCounts

CANARY = "canary"
"""The route under which the log has what a canary answered."""
LATE = "late"

log = logging.getLogger("trivet.serving")
_SAY_AGAIN_SECONDS = 10.0

Record = Callable[[Batch, Answers, list[Answered]], None]
"""Counts and logs what was answered."""


@dataclass(slots=True, kw_only=True, eq=False)
class Held:
    """A request with the champion's answer, which the canary is to better."""

    ticket: Ticket
    state: Canary
    canary: Version
    work: Work
    answer: Answer
    """The champion's."""
    give_up: Callable[[], None]
    """Counts and logs the champion's answer, once that is the one given."""
    began: float
    timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether somebody still waits for an answer."""
        return not self.ticket.answered.done()


class Split:
    """Gathers what canaries are to answer; all of it runs in the event loop but their computing."""

    def __init__(self, counts: TrialCounts, fetch: Fetch, most_rows: int, record: Record) -> None:
        """`most_rows`: of one batch; `fetch` reads what the champion has not read."""
        self._counts = counts
        self._fetch = fetch
        self._most_rows = most_rows
        self._record = record
        self._work = Apart("trivet-canary")
        self._waiting: deque[Held] = deque()
        self._busy_since: float | None = None
        self._said_at = -_SAY_AGAIN_SECONDS

    def take(self, held: Held) -> None:
        """Have the canary answer, or give the champion's answer at its time limit."""
        limit = held.state.limits.timeout_ms / 1000
        since = self._busy_since
        if since is not None and held.began - since > limit:
            # It hangs: nobody else is to wait for it.
            self._fall_back(held, LATE, limit)
            return
        loop = asyncio.get_running_loop()
        held.timer = loop.call_later(limit, self._expire, held, limit)
        self._waiting.append(held)
        self._work_on()

    def _work_on(self) -> None:
        if self._busy_since is not None:
            return
        taken = self._next()
        if not taken:
            return
        self._busy_since = time.perf_counter()
        works = [held.work for held in taken]
        work = asyncio.get_running_loop().run_in_executor(
            self._work,
            compute,
            taken[0].canary,
            works,
            self._fetch,
            taken[0].state.limits.tolerance,
        )
        work.add_done_callback(lambda done: self._has_worked(taken, done))

    def _next(self) -> list[Held]:
        """Take what waits for one version, up to the most rows; what was given up is left."""
        taken: list[Held] = []
        rows = 0
        while self._waiting:
            held = self._waiting[0]
            if held.open:
                rows += held.ticket.asked.rows
                if taken and (rows > self._most_rows or held.canary is not taken[0].canary):
                    break
                taken.append(held)
            self._waiting.popleft()
        return taken

    def _has_worked(self, taken: list[Held], done: asyncio.Future[Beside]) -> None:
        self._busy_since = None
        error = done.exception()
        if error is None:
            self._deliver(taken, done.result())
        else:
            log.error("a canary could not be computed", exc_info=error)
            for held in taken:
                self._fall_back(held, "raised", time.perf_counter() - held.began)
        self._work_on()

    def _deliver(self, taken: list[Held], beside: Beside) -> None:
        now = time.perf_counter()
        if beside.causes and now - self._said_at > _SAY_AGAIN_SECONDS:
            self._said_at = now
            log.warning("a canary fails: %s", beside.causes[0], exc_info=beside.causes[0])
        for place, kind in beside.failed.items():
            self._fall_back(taken[place], kind, now - taken[place].began)
        tickets = [taken[place].ticket for place in beside.places]
        for part in beside.parts:
            requests = []
            for number, (ticket, document) in zip(
                part.places, documents(tickets, beside.batch, part), strict=True
            ):
                held = taken[beside.places[number]]
                alike = beside.alike.get(beside.places[number])
                requests.append(self._answered(held, ticket, document, part, alike))
            self._record(beside.batch, part, requests)

    def _answered(
        self,
        held: Held,
        ticket: Ticket,
        document: dict[str, object],
        part: Answers,
        alike: Likeness | None,
    ) -> Answered:
        now = time.perf_counter()
        before = held.answer.seconds
        given = alike is not None and held.open
        if given:
            _settle(held)
            self._counts.computed(held.state, now - held.began, None, alike)
            seconds = {
                "validate": before["validate"],
                "features": before["features"],
                "champion": sum(before.values()) - before["validate"] - before["features"],
                **part.seconds,
            }
            ticket.answered.set_result(
                Answer(document=document, seconds=seconds, version=held.canary.number)
            )
        return Answered(
            request_id=ticket.request_id,
            route=CANARY,
            rows=ticket.asked.rows,
            validate_seconds=before["validate"],
            features_seconds=before["features"],
            total_seconds=now - ticket.started,
            kept=given,
        )

    def _expire(self, held: Held, limit: float) -> None:
        self._fall_back(held, LATE, limit)

    def _fall_back(self, held: Held, kind: str, seconds: float) -> None:
        """Give the champion's answer, and count how the canary failed."""
        if not held.open:
            return
        _settle(held)
        self._counts.computed(held.state, seconds, kind, None)
        held.answer.in_place_of = f"{held.canary.number}; {kind}"
        held.ticket.answered.set_result(held.answer)
        held.give_up()


def _settle(held: Held) -> None:
    if held.timer is not None:
        held.timer.cancel()
