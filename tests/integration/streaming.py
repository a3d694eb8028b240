"""Prediction requests of the shop over a real Redis, and what is seen of them from outside."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis

from contract.servers import RedisServer
from trivet.serving.dataplane import DataPlane
from trivet.serving.slot import Slot
from trivet.stream.line import Reading, Stream
from trivet.stream.messages import DATA_FIELD
from trivet.stream.metrics import StreamMetrics
from trivet.stream.predicting import Predictions
from trivet.stream.redis.line import RedisLine
from trivet.stream.taken import Outlet
from unit.fakes import NOON, FakeReader, FakeRecorder, ask, filled_slot, settings, version

GROUP = "trivet"
_names = itertools.count()


@dataclass(kw_only=True)
class Shop:
    """The streams of one test, on a Redis that several share."""

    server: RedisServer
    folder: Path
    reader: FakeReader = field(default_factory=FakeReader)
    deliveries: int = 5
    name: str = field(default_factory=lambda: f"shop{next(_names)}")
    lines: list[RedisLine] = field(default_factory=list)
    recorders: list[FakeRecorder] = field(default_factory=list)

    @property
    def stream(self) -> Stream:
        """The requests."""
        return Stream(name=self.name, dead=f"{self.name}.dead", out=f"{self.name}.out")

    @property
    def client(self) -> redis.Redis:
        """A client of the tests' own."""
        return redis.Redis(port=self.server.port)

    def send(self, ids: Iterable[Any], *raw: bytes) -> None:
        """Ask for predictions under these ids, and send other messages after them."""
        messages = [orjson.dumps({"id": str(n), "instance": ask(amount=1.0)}) for n in ids]
        with self.client as client, client.pipeline(transaction=False) as pipe:
            for message in (*messages, *raw):
                pipe.xadd(self.name, {DATA_FIELD: message})
            pipe.execute()

    def take(self, consumer: str, count: int) -> list[bytes]:
        """Be handed messages as a consumer that then does nothing; return their places."""
        with self.client as client:
            self._declare(client)
            found = client.xreadgroup(GROUP, consumer, {self.name: ">"}, count=count)
            return [place for place, _ in found[0][1]]

    def answered(self) -> list[str]:
        """Return the ids of the predictions, in their order."""
        return [message["id"] for message in self.messages("out")]

    def messages(self, end: str) -> list[Any]:
        """Return what is on the stream of predictions (`out`) or of dead letters (`dead`)."""
        with self.client as client:
            entries = client.xrange(f"{self.name}.{end}")
        return [orjson.loads(fields[DATA_FIELD.encode()]) for _, fields in entries]

    def pending(self) -> list[Any]:
        """Return what consumers hold."""
        with self.client as client:
            return list(client.xpending_range(self.name, GROUP, "-", "+", 10_000))

    def left(self) -> int:
        """Return how many messages the stream of requests holds."""
        with self.client as client:
            return int(client.xlen(self.name))

    async def until(self, holds: Callable[[], bool], within: float = 20) -> None:
        """Wait until something holds, without holding up what runs in this event loop."""
        end = time.monotonic() + within
        while not await asyncio.to_thread(holds):
            assert time.monotonic() < end, (self.answered()[-3:], self.pending()[:3])
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def consumer(self, name: str = "c", **changes: Any) -> AsyncIterator[Consumer]:
        """Have a consumer read, and end it gracefully."""
        consumer = self.make(name, **changes)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    def make(self, name: str, **changes: Any) -> Consumer:
        """Return a consumer that has not started."""
        reading = {
            "group": GROUP,
            "consumer": name,
            "batch": 50,
            "linger_seconds": 0.001,
            "idle_seconds": 0.5,
            "most_kept": 100_000,
            "remember_seconds": 60,
        }
        line = RedisLine(
            f"redis://127.0.0.1:{self.server.port}/0", Reading(**{**reading, **changes})
        )
        folder = self.folder / f"{self.name}-{name}-{len(self.lines)}"
        self.lines.append(line)
        return Consumer(shop=self, line=line, slot=filled_slot(folder, version(reader=self.reader)))

    def _declare(self, client: redis.Redis) -> None:
        with suppress(redis.ResponseError):  # it is there
            client.xgroup_create(self.name, GROUP, id="0", mkstream=True)


@dataclass(kw_only=True)
class Consumer:
    """One consumer's parts, as a process has them."""

    shop: Shop
    line: RedisLine
    slot: Slot
    recorder: FakeRecorder = field(default_factory=FakeRecorder)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _looks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read, and to look after what is left."""
        assert await self.begin()

    async def begin(self) -> bool:
        """Begin, and say whether it has, or was to end before."""
        plane = DataPlane(self.slot, settings(self.shop.folder), lambda: NOON, self.recorder)

        def make(outlet: Outlet, metrics: StreamMetrics) -> Predictions:
            return Predictions(
                plane, outlet, metrics, self.stopping, self.shop.deliveries, lambda: NOON
            )

        self.line.add(self.shop.stream, make)
        begun = await self.line.start(self.stopping)
        if begun:
            self._looks = asyncio.create_task(self._look())
        return begun

    async def stop(self) -> None:
        """End gracefully."""
        self.stopping.set()
        if self._looks is not None:
            await self._looks
        await self.line.stop()

    @property
    def rows(self) -> int:
        """How many requests it has answered."""
        return sum(rows for _, rows in self.recorder.answers)

    async def _look(self) -> None:
        while not self.stopping.is_set():
            with suppress(redis.RedisError, OSError):
                await self.line.look()
            await asyncio.sleep(0.1)


def twice(ids: Iterable[str]) -> list[str]:
    """Return the ids that are there more than once."""
    return [one for one, count in Counter(ids).items() if count > 1]
