"""A stream process: connected, reading, counted, and ended without losing what it took."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trivet.clock import Clock, system_clock
from trivet.stream.address import Address
from trivet.stream.line import Line, Reading, Stream
from trivet.stream.messages import Names
from trivet.stream.metrics import StreamMetrics
from trivet.stream.predicting import Predictions
from trivet.stream.pushing import FeatureEvents
from trivet.stream.taken import Outlet

if TYPE_CHECKING:
    from trivet.features.push import To
    from trivet.serving.worker import Worker
    from trivet.settings import Settings

log = logging.getLogger("trivet.stream")

_LOOK_SECONDS = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Health:
    """Whether the broker has answered when it was last asked; `why` not, where it has not."""

    ok: bool = False
    why: str = "starting"


class StreamProcess:
    """One process of `trivet stream`."""

    def __init__(
        self, settings: Settings, address: Address, reading: Reading, clock: Clock = system_clock
    ) -> None:
        """Nothing is connected before `run`.

        Args:
            settings: of the project.
            address: of the broker.
            reading: how streams are read.
            clock: of features, predictions and their log.
        """
        self._settings = settings
        self._clock = clock
        self._line = open_line(address, reading)
        self._stop_also: list[Callable[[], None]] = []
        self._look_seconds = min(_LOOK_SECONDS, reading.idle_seconds / 3)
        self.health = Health()
        self.stopping = asyncio.Event()

    def predict(self, names: Names, worker: Worker) -> None:
        """Answer prediction requests by a worker, which whoever made it stops after `run`."""

        def make(outlet: Outlet, metrics: StreamMetrics) -> Predictions:
            return Predictions(
                worker.dataplane,
                outlet,
                metrics,
                self.stopping,
                self._settings.stream_deliveries,
                self._clock,
            )

        stream = Stream(name=names.requests, dead=names.dead_requests, out=names.predictions)
        self._line.add(stream, make)

    def push(self, names: Names, to: To) -> None:
        """Push feature events.

        Raises:
            FeaturesUnavailable: Feast cannot use the feature repository.
        """
        from trivet.stream.sources import FeastSources

        sources = FeastSources(self._settings, to, self._clock)

        def make(outlet: Outlet, metrics: StreamMetrics) -> FeatureEvents:
            events = FeatureEvents(
                sources.open, outlet, metrics, self.stopping, self._settings.stream_deliveries
            )
            self._stop_also.append(events.stop)
            return events

        self._line.add(Stream(name=names.features, dead=names.dead_features), make)

    async def run(self) -> None:
        """Read until SIGTERM or Ctrl-C; then finish what was taken, and return."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.stopping.set)
        try:
            if await self._line.start(self.stopping):
                log.warning("reading")
                await self._look_after()
        finally:
            log.warning("ending: what was taken is finished first")
            await self._line.stop()
            for stop in self._stop_also:
                await asyncio.to_thread(stop)
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def _look_after(self) -> None:
        while not self.stopping.is_set():
            try:
                await self._line.look()
            except Exception as err:  # noqa: BLE001 - whatever a client raises, it is not there
                self._unwell(f"{type(err).__name__}: {err}")
            else:
                self._unwell(None)
            await _wait(self.stopping, self._look_seconds)

    def _unwell(self, why: str | None) -> None:
        if why is not None and why != self.health.why:
            log.warning("the broker does not answer: %s", why)
        self.health.ok, self.health.why = why is None, why or ""


def open_line(address: Address, reading: Reading) -> Line:
    """Return a connection to a broker, of its own kind; nothing is sent yet.

    Raises:
        BadSetting: the environment's options for it do not fit.
    """
    if address.kind == "redis":
        from trivet.stream.redis.line import RedisLine

        return RedisLine(address.url, reading)
    from trivet.stream.kafka.line import KafkaLine

    return KafkaLine(address.servers, reading)


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
