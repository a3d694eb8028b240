"""Feature events in: pushed by source, many at a time, to the online store and the offline one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from trivet.errors import FeaturesUnavailable
from trivet.stream.messages import Event, read_event
from trivet.stream.metrics import Hold, StreamMetrics
from trivet.stream.patience import Patience
from trivet.stream.predicting import dead, finish, given_up, settle
from trivet.stream.taken import Batch, Outlet, Settled, Taken

if TYPE_CHECKING:
    from collections.abc import Mapping

_TO_COME = (FeaturesUnavailable, OSError)
"""The store, or the disk: what holds events until it is back; everything else is an event's."""

_REOPEN_SECONDS = 30.0
"""How long a push source is taken to have the views that it had."""


class Source(Protocol):
    """One push source; `trivet.stream.sources.FeastSource` in a process."""

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Check an event's row; see `trivet.features.events.Events.read`."""
        ...

    def push(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Push rows of the same columns; see `trivet.features.push.Pusher.push`."""
        ...


@dataclass(slots=True, kw_only=True)
class _Ready:
    """An event that is fit to be pushed."""

    taken: Taken
    event: Event
    row: dict[str, Any]


@dataclass(slots=True)
class _CameOf:
    """What came of a batch so far."""

    done: list[Settled] = field(default_factory=list)
    held: list[Taken] = field(default_factory=list)
    why: Exception | None = None


class FeatureEvents:
    """Pushes feature events."""

    def __init__(
        self,
        open_source: Callable[[str], Source],
        outlet: Outlet,
        metrics: StreamMetrics,
        stopping: asyncio.Event,
        most_deliveries: int,
    ) -> None:
        """One thread pushes: Feast's clients block, and events stay in their order.

        Args:
            open_source: finds a push source by its name.
            outlet: where events are acknowledged, and dead letters go.
            metrics: of the stream.
            stopping: set when the process is to end.
            most_deliveries: a message that was handed out more often is given up.
        """
        self._open_source = open_source
        self._outlet = outlet
        self._metrics = metrics
        self._stopping = stopping
        self._most_deliveries = most_deliveries
        self._sources: dict[str, tuple[float, Source]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trivet-push")

    async def handle(self, batch: Batch) -> None:
        """Push every event of a batch; see `Role.handle`.

        An event that is none, or that its source cannot take, goes to the dead letters. While a store
        is down the batch is held. Events of one source are pushed in their order.
        """
        with self._metrics.batch(len(batch.messages)) as hold:
            await self._handle(batch, hold)

    async def _handle(self, batch: Batch, hold: Hold) -> None:
        loop = asyncio.get_running_loop()
        left: Sequence[Taken] = batch.messages
        patience = Patience(self._stopping, "feature events are held")
        while True:
            came_of = await loop.run_in_executor(self._thread, self._push_all, left)
            if not await settle(self._outlet, came_of.done, self._metrics, self._stopping, hold):
                return
            hold.say(held=came_of.why is not None)
            if came_of.why is None:
                patience.worked()
                await finish(batch, self._stopping, hold)
                return
            if not await patience.wait(came_of.why):
                return
            left = came_of.held

    def stop(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _push_all(self, messages: Sequence[Taken]) -> _CameOf:
        came_of = _CameOf()
        groups: dict[tuple[str, frozenset[str]], list[_Ready]] = {}
        for taken in messages:
            ready = self._ready(taken, came_of)
            if ready is not None:
                # A frame has one set of columns: what a row lacks would be a null in it.
                groups.setdefault((ready.event.source, frozenset(ready.row)), []).append(ready)
        for (source, _), events in groups.items():
            self._push(source, events, came_of)
        return came_of

    def _ready(self, taken: Taken, came_of: _CameOf) -> _Ready | None:
        if taken.deliveries > self._most_deliveries:
            came_of.done.append(dead(taken, given_up(taken.deliveries)))
            return None
        try:
            event = read_event(taken.body)
            return _Ready(taken=taken, event=event, row=self._source(event.source).read(event.row))
        except _TO_COME as err:
            came_of.held.append(taken)
            came_of.why = err
        except Exception as err:  # noqa: BLE001 - whatever it is, it is this event's
            came_of.done.append(dead(taken, err))
        return None

    def _push(self, source: str, events: Sequence[_Ready], came_of: _CameOf) -> None:
        """Push events together; where one of them is refused, find it by halves."""
        try:
            self._source(source).push([one.row for one in events])
        except _TO_COME as err:
            came_of.held += [one.taken for one in events]
            came_of.why = err
        except Exception as err:  # noqa: BLE001 - whatever it is, it is one event's
            if len(events) == 1:
                came_of.done.append(dead(events[0].taken, err))
                return
            half = len(events) // 2
            self._push(source, events[:half], came_of)
            self._push(source, events[half:], came_of)
        else:
            came_of.done += [
                Settled(taken=one.taken, id=one.event.id, outcome="pushed") for one in events
            ]

    def _source(self, name: str) -> Source:
        now = time.monotonic()
        until, source = self._sources.get(name, (0.0, None))
        if source is None or now > until:
            source = self._open_source(name)
            self._sources[name] = now + _REOPEN_SECONDS, source
        return source
