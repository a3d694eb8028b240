"""The data plane: from a request's bytes to an answer, whatever transport brought them.

validate -> features -> preprocess -> predict -> postprocess -> record
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from trivet.clock import Clock
from trivet.contract import Default
from trivet.errors import TrivetError
from trivet.features.values import AbsentValue
from trivet.serving.answering import Answers, Batch, Outcome
from trivet.serving.asking import checked_instances, parse_instances
from trivet.serving.crowd import Crowd, Ticket
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Answered, Entry, Log
from trivet.serving.slot import Slot
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


@dataclass(slots=True, kw_only=True)
class Answer:
    """The predictions for one request, and the seconds that every step took."""

    document: dict[str, Any]
    seconds: dict[str, float]
    version: int


class DataPlane:
    """Answers requests with the versions in a slot."""

    def __init__(
        self,
        slot: Slot,
        settings: Settings,
        clock: Clock,
        recorder: Recorder,
        log: Log | None = None,
    ) -> None:
        """One a worker."""
        self._slot = slot
        self._settings = settings
        self._recorder = recorder
        self._log = log
        self.asked = 0
        """How many requests have come in."""
        self._crowd = Crowd(
            clock, settings.feature_timeout_seconds, settings.batch_rows, self._deliver
        )

    async def predict_bytes(
        self, body: bytes, choose: Choice, request_id: str, route: str = CHAMPION
    ) -> Answer:
        """Answer a JSON body; see `predict`."""
        return await self.answer(
            lambda _: (parse_instances(body, self._settings), request_id), choose, route
        )

    async def predict(
        self, instances: Any, choose: Choice, request_id: str, route: str = CHAMPION
    ) -> Answer:
        """Answer instances; `route` says in the log what `choose` does.

        Raises:
            TrivetError: of the step that failed; it was counted.
        """
        return await self.answer(
            lambda _: (checked_instances(instances, self._settings), request_id), choose, route
        )

    async def answer(self, read: Read, choose: Choice, route: str) -> Answer:
        """Answer what a transport reads in a form of its own; see `predict`."""
        version: Version | None = None
        self.asked += 1
        try:
            started = time.perf_counter()
            version = choose(self._slot)
            instances, request_id = read(version)
            asked = version.check(instances)
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._crowd.join(
                Ticket(
                    version=version,
                    asked=asked,
                    answered=answered,
                    request_id=request_id,
                    route=route,
                    started=started,
                    validated=time.perf_counter(),
                )
            )
            return await answered
        except TrivetError as err:
            self._recorder.refused(None if version is None else version.number, err.status)
            raise
        except Exception:
            self._recorder.refused(None if version is None else version.number, TrivetError.status)
            raise

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
                self._record(batch, part, self._answered(tickets, batch, part))
            except Exception:
                log.exception("%s: an answer could not be recorded", batch.version.contract.model)

    def _answered(self, tickets: Sequence[Ticket], batch: Batch, part: Answers) -> list[Answered]:
        """Set the answers of a part that was answered together, and say what they took."""
        version = batch.version
        model = {"name": version.contract.model, "version": version.number}
        missing = _missing_by_row(part.absent)
        now = time.perf_counter()
        done = []
        for place, rows in part.each([one.rows for one in batch.asked]):
            ticket = tickets[place]
            validate, features = ticket.validated - ticket.started, part.settled - ticket.validated
            document = {
                "predictions": part.predictions[rows],
                "model": model,
                "request_id": ticket.request_id,
                "missing": _of_rows(missing, rows) if missing else [],
            }
            waited_for = not ticket.answered.done()
            if waited_for:
                ticket.answered.set_result(
                    Answer(
                        document=document,
                        seconds={"validate": validate, "features": features, **part.seconds},
                        version=version.number,
                    )
                )
            done.append(
                Answered(
                    request_id=ticket.request_id,
                    route=ticket.route,
                    rows=ticket.asked.rows,
                    validate_seconds=validate,
                    features_seconds=features,
                    total_seconds=now - ticket.started,
                    kept=waited_for,
                )
            )
        return done

    def _record(self, batch: Batch, part: Answers, requests: list[Answered]) -> None:
        version = batch.version
        entry = Entry(
            requests=requests,
            asked_at=batch.at,
            contract=version.contract,
            digest=version.digest,
            version=version.number,
            asked=part.asked,
            features=part.features,
            absent=part.absent,
            columns=part.columns,
            predictions=part.predictions,
            seconds=part.seconds,
        )
        self._recorder.answered(entry)
        if self._log is not None:
            self._log.record(entry)


def to_bytes(answer: Answer) -> bytes:
    """Return an answer as JSON."""
    return orjson.dumps(answer.document)


def _missing_by_row(absent: Sequence[AbsentValue]) -> dict[int, list[dict[str, Any]]]:
    missing: dict[int, list[dict[str, Any]]] = {}
    for value in absent:
        missing.setdefault(value.row, []).append(_missing(value))
    return missing


def _of_rows(missing: dict[int, list[dict[str, Any]]], rows: slice) -> list[dict[str, Any]]:
    """Return what one request misses, with its own numbers of rows."""
    return [
        {"row": row - rows.start, **entry}
        for row in range(rows.start, rows.stop)
        for entry in missing.get(row, ())
    ]


def _missing(value: AbsentValue) -> dict[str, Any]:
    entry: dict[str, Any] = {"column": value.column.name, "why": value.why}
    if value.age_seconds is not None:
        entry["age_seconds"] = round(value.age_seconds, 3)
    if isinstance(value.column.absent, Default):
        entry["default"] = value.column.absent.default
    return entry
