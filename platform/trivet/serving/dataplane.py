"""The data plane: from a request's bytes to an answer, whatever transport brought them.

validate -> features -> preprocess -> predict -> postprocess -> record
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from trivet.clock import Clock
from trivet.errors import Overloaded, TrivetError
from trivet.features.values import AbsentValue
from trivet.serving.answering import Answers, Batch, Outcome
from trivet.serving.asking import checked_instances, parse_instances
from trivet.serving.crowd import Crowd, Ticket
from trivet.serving.documents import Answer, documents
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Answered, Entry, Log
from trivet.serving.slot import Slot
from trivet.serving.trial_counts import TrialCounts
from trivet.serving.trials import Trials
from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

Choice = Callable[[Slot], Version]
"""Picks the version that a route means, at the moment at which the request begins."""

Read = Callable[[Version], tuple[list[Any], str]]
"""Reads a request to a version: its instances, and the id that it is answered and logged under."""

CHAMPION = "champion"
"""The route of a request that names no version and no alias."""


class Recorder(Protocol):
    """Counts what was answered; `trivet.serving.metrics.Metrics` in a service."""

    def answered(self, entry: Entry) -> None:
        """Count a batch of answered requests."""
        ...

    def refused(self, version: int | None, status: int) -> None:
        """Count one request that was answered by a problem."""
        ...

    def overloaded(self) -> None:
        """Count one request that was not begun, as too many are unanswered; `refused` included."""
        ...


class DataPlane:
    """Answers requests with the versions in a slot."""

    def __init__(  # noqa: PLR0917 - its parts, wired once
        self,
        slot: Slot,
        settings: Settings,
        clock: Clock,
        recorder: Recorder,
        log: Log | None = None,
        counts: TrialCounts | None = None,
    ) -> None:
        """One a worker; without `counts` there is neither canary nor shadow."""
        self._slot = slot
        self._settings = settings
        self._recorder = recorder
        self._log = log
        self.asked = 0
        """How many requests have come in."""
        self.in_flight = 0
        """How many of them have not been answered yet."""
        self._most_in_flight = settings.most_in_flight
        self._crowd = Crowd(
            clock, settings.feature_timeout_seconds, settings.batch_rows, self._deliver
        )
        self._trials = (
            None
            if counts is None
            else Trials(slot, counts, self._crowd.fetch_apart, settings.batch_rows, self._record)
        )

    def stop(self) -> None:
        """End the thread of a shadow."""
        if self._trials is not None:
            self._trials.stop()

    async def predict_bytes(
        self, body: bytes, choose: Choice, request_id: str, route: str = CHAMPION
    ) -> Answer:
        """Answer a JSON body; see `predict`."""
        return await self.answer(
            lambda _: (parse_instances(body, self._settings), request_id),
            choose,
            route,
            shared=route == CHAMPION,
        )

    async def predict(
        self, instances: Any, choose: Choice, request_id: str, route: str = CHAMPION
    ) -> Answer:
        """Answer instances; `route` says in the log what `choose` does.

        Raises:
            TrivetError: of the step that failed; it was counted.
        """
        return await self.answer(
            lambda _: (checked_instances(instances, self._settings), request_id),
            choose,
            route,
            shared=route == CHAMPION,
        )

    async def answer(
        self, read: Read, choose: Choice, route: str, *, shared: bool = False
    ) -> Answer:
        """Answer what a transport reads in a form of its own; see `predict`.

        `shared`: a canary may answer it, and a shadow compute it.

        Raises:
            Overloaded: as many as may be are unanswered; it was not begun.
        """
        version: Version | None = None
        if self.in_flight >= self._most_in_flight:
            self.asked += 1
            self._recorder.overloaded()
            raise Overloaded(self._most_in_flight)
        self.asked += 1
        self.in_flight += 1
        try:
            started = time.perf_counter()
            version = choose(self._slot)
            instances, request_id = read(version)
            asked = version.check(instances)
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            ticket = Ticket(
                version=version,
                asked=asked,
                answered=answered,
                request_id=request_id,
                route=route,
                started=started,
                validated=time.perf_counter(),
            )
            if shared and self._trials is not None:
                self._trials.meet(ticket, instances)
            self._crowd.join(ticket)
            return await answered
        except TrivetError as err:
            self._recorder.refused(None if version is None else version.number, err.status)
            raise
        except Exception:
            self._recorder.refused(None if version is None else version.number, TrivetError.status)
            raise
        finally:
            self.in_flight -= 1

    def refused(self, err: TrivetError) -> None:
        """Count a request that was refused before it could be read."""
        self.asked += 1
        self._recorder.refused(None, err.status)

    async def ready(self) -> None:
        """Return if a request could be answered now.

        Raises:
            NoChampion: nothing is loaded.
            FeaturesUnavailable: the feature store does not answer within the setting.
        """
        await self._crowd.read_apart(self._slot.champion().probe)

    def _deliver(self, tickets: Sequence[Ticket], batch: Batch, outcome: Outcome) -> None:
        """Give each request what came of it, and record those that were answered."""
        for place, error in outcome.errors.items():
            if not tickets[place].answered.done():
                tickets[place].answered.set_exception(error)
        for part in outcome.answers:
            try:
                requests = self._answered(tickets, batch, part)
                self._record(batch, part, requests)
                if self._trials is not None:
                    self._trials.answered(tickets, batch, part, requests)
            except Exception as err:
                log.exception("%s: an answer could not be recorded", batch.version.contract.model)
                _let_go([tickets[place] for place in part.places], err)

    def _answered(self, tickets: Sequence[Ticket], batch: Batch, part: Answers) -> list[Answered]:
        """Set the answers of a part that was answered together, and say what they took.

        What a canary is to answer is held back.
        """
        now = time.perf_counter()
        done = []
        for ticket, document in documents(tickets, batch, part):
            validate, features = ticket.validated - ticket.started, part.settled - ticket.validated
            waited_for = not ticket.answered.done()
            if waited_for:
                answer = Answer(
                    document=document,
                    seconds={"validate": validate, "features": features, **part.seconds},
                    version=batch.version.number,
                )
                if ticket.canary is None:
                    ticket.answered.set_result(answer)
                else:
                    ticket.held = answer
            done.append(
                Answered(
                    request_id=ticket.request_id,
                    route=ticket.route,
                    rows=ticket.asked.rows,
                    validate_seconds=validate,
                    features_seconds=features,
                    total_seconds=now - ticket.started,
                    kept=waited_for and ticket.canary is None,
                )
            )
        return done

    def _record(self, batch: Batch, part: Answers, requests: list[Answered]) -> None:
        if not any(request.kept for request in requests):
            return
        version = batch.version
        entry = Entry(
            requests=requests,
            asked_at=batch.at,
            contract=version.contract,
            digest=version.digest,
            version=version.number,
            asked=part.asked,
            features=part.features,
            absent=_of_kept(part.absent, requests),
            columns=part.columns,
            predictions=part.predictions,
            seconds=part.seconds,
        )
        self._recorder.answered(entry)
        if self._log is not None:
            self._log.record(entry)


def _let_go(tickets: Sequence[Ticket], err: Exception) -> None:
    """Give the champion's answer to those that were held back for a canary; nobody waits for ever."""
    for ticket in tickets:
        if ticket.answered.done():
            continue
        if ticket.held is None:
            ticket.answered.set_exception(err)
        else:
            ticket.answered.set_result(ticket.held)


def _of_kept(
    absent: tuple[AbsentValue, ...], requests: Sequence[Answered]
) -> tuple[AbsentValue, ...]:
    """Return what is absent in the rows of those requests that count."""
    if not absent or all(request.kept for request in requests):
        return absent
    kept: set[int] = set()
    start = 0
    for request in requests:
        if request.kept:
            kept.update(range(start, start + request.rows))
        start += request.rows
    return tuple([value for value in absent if value.row in kept])
