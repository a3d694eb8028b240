"""The data plane: from a request's bytes to an answer, whatever transport brought them.

validate -> features -> preprocess -> predict -> postprocess -> record
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from trivet.clock import Clock
from trivet.contract import Default
from trivet.errors import FeaturesUnavailable, TrivetError
from trivet.features.values import AbsentValue
from trivet.serving.asking import Asked, checked_instances, parse_instances
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Entry, Log
from trivet.serving.slot import Slot
from trivet.settings import Settings

Choice = Callable[[Slot], Version]
"""Picks the version that a route means, at the moment at which the request begins."""

CHAMPION = "champion"
"""The route of a request that names no version and no alias."""


class Recorder(Protocol):
    """Counts what was answered; `trivet.serving.metrics.Metrics` in a service."""

    def answered(
        self,
        version: int,
        rows: int,
        seconds: dict[str, float],
        total: float,
        absent: tuple[AbsentValue, ...],
    ) -> None:
        """Count one answered request."""
        ...

    def refused(self, version: int | None, status: int) -> None:
        """Count one request that was answered by a problem."""
        ...

    def seen(self, event_times: Mapping[str, Sequence[datetime | None]]) -> None:
        """Note when the values that a request read were known, by feature view."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
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
        """One a worker. Reads and predictions run in one thread of their own.

        Feast's SQLite store has one connection, and a predictor is given one thread: a second thread
        would only wait. Meanwhile the event loop answers health checks and takes requests in.
        """
        self._slot = slot
        self._settings = settings
        self._clock = clock
        self._recorder = recorder
        self._log = log
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trivet-predict")

    async def predict_bytes(
        self, body: bytes, choose: Choice, request_id: str, route: str = CHAMPION
    ) -> Answer:
        """Answer a JSON body; see `predict`."""
        return await self._counted(
            lambda: parse_instances(body, self._settings), choose, request_id, route
        )

    async def predict(
        self, instances: Any, choose: Choice, request_id: str, route: str = CHAMPION
    ) -> Answer:
        """Answer instances; `route` says in the log what `choose` does.

        Raises:
            TrivetError: of the step that failed; it was counted.
        """
        return await self._counted(
            lambda: checked_instances(instances, self._settings), choose, request_id, route
        )

    async def ready(self) -> None:
        """Return if a request could be answered now.

        Raises:
            NoChampion: nothing is loaded.
            FeaturesUnavailable: the feature store does not answer within the setting.
        """
        version = self._slot.champion()
        await self._in_thread(version.probe, self._clock())

    async def _counted(
        self, read: Callable[[], list[Any]], choose: Choice, request_id: str, route: str
    ) -> Answer:
        version: Version | None = None
        try:
            started = time.perf_counter()
            version = choose(self._slot)
            asked = version.check(read())
            validated = time.perf_counter() - started
            return await self._answer(
                version, asked, request_id, route=route, started=started, validated=validated
            )
        except TrivetError as err:
            self._recorder.refused(None if version is None else version.number, err.status)
            raise
        except Exception:
            self._recorder.refused(None if version is None else version.number, TrivetError.status)
            raise

    async def _answer(
        self,
        version: Version,
        asked: Asked,
        request_id: str,
        *,
        route: str,
        started: float,
        validated: float,
    ) -> Answer:
        reading = time.perf_counter()
        at = self._clock()
        features = await self._in_thread(version.fetch, asked, at)
        prepared = version.settle(asked, features)
        read = time.perf_counter() - reading
        predicted = await asyncio.get_running_loop().run_in_executor(
            self._thread, version.predict, prepared
        )
        seconds = {"validate": validated, "features": read, **predicted.seconds}
        document = {
            "predictions": predicted.predictions,
            "model": {"name": version.contract.model, "version": version.number},
            "request_id": request_id,
            "missing": [_missing(value) for value in prepared.absent],
        }
        total = time.perf_counter() - started
        self._recorder.seen(features.event_times)
        self._recorder.answered(version.number, asked.rows, seconds, total, prepared.absent)
        if self._log is not None:
            self._log.record(
                Entry(
                    request_id=request_id,
                    asked_at=at,
                    contract=version.contract,
                    digest=version.digest,
                    version=version.number,
                    route=route,
                    asked=asked,
                    features=features,
                    absent=prepared.absent,
                    columns=prepared.columns,
                    predictions=predicted.predictions,
                    seconds=seconds,
                    total_seconds=total,
                )
            )
        return Answer(document=document, seconds=seconds, version=version.number)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what reads the feature store, and give up at the deadline."""
        limit = self._settings.feature_timeout_seconds
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(self._thread, function, *arguments), limit
            )
        except TimeoutError as err:
            raise FeaturesUnavailable(
                f"The feature store did not answer within {limit:g} s.",
                hint="TRIVET_FEATURE_TIMEOUT_SECONDS is that limit.",
            ) from err


def to_bytes(answer: Answer) -> bytes:
    """Return an answer as JSON."""
    return orjson.dumps(answer.document)


def _missing(value: AbsentValue) -> dict[str, Any]:
    entry: dict[str, Any] = {"row": value.row, "column": value.column.name, "why": value.why}
    if value.age_seconds is not None:
        entry["age_seconds"] = round(value.age_seconds, 3)
    if isinstance(value.column.absent, Default):
        entry["default"] = value.column.absent.default
    return entry
