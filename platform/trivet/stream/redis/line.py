"""Streams of Redis, read by FastStream: batches in, and what consumers have left beside them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.exceptions import RedisError, ResponseError

from trivet.clock import system_clock
from trivet.stream.line import MakeRole, Reading, Stream
from trivet.stream.metrics import StreamMetrics
from trivet.stream.patience import until_done
from trivet.stream.redis.backlog import look
from trivet.stream.redis.entries import PlainJson, decode, parse, places_of
from trivet.stream.redis.outlet import RedisOutlet, Target
from trivet.stream.redis.pending import LAST, Pending
from trivet.stream.taken import Batch, Role

if TYPE_CHECKING:
    from faststream.redis.subscriber.usecases import LogicSubscriber

log = logging.getLogger("trivet.stream")

_BLOCK_MILLISECONDS = 100
_SOCKET_SECONDS = 5.0
_LAST_SECONDS = 30.0
"""Longest wait at the end for what was taken."""
_LEFT_SECONDS = 10.0
"""Of these, for what was taken over."""


@dataclass(slots=True, kw_only=True)
class _Read:
    """One stream that is read."""

    stream: Stream
    subscriber: LogicSubscriber
    make: MakeRole
    metrics: StreamMetrics
    pending: Pending | None = None
    role: Role | None = None
    own: bytes | None = None
    """Up to this entry, what was handed out under this consumer's name is of a process before."""
    sees_to: asyncio.Task[None] | None = None
    see_at: float = 0.0


class RedisLine:
    """Streams of one Redis."""

    def __init__(self, url: str, reading: Reading) -> None:
        """Nothing is sent yet."""
        self._reading = reading
        self.broker = RedisBroker(
            url,
            apply_types=False,
            message_format=PlainJson,
            logger=log,
            log_level=logging.DEBUG,
            graceful_timeout=_LAST_SECONDS,
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=_SOCKET_SECONDS,
            socket_keepalive=True,
        )
        self._client: Any = None
        self._reads: list[_Read] = []
        self._stopping = asyncio.Event()

    def add(self, stream: Stream, make: MakeRole) -> None:
        """Read a stream; see `Line.add`."""
        reading = self._reading
        subscriber: Any = self.broker.subscriber(
            stream=StreamSub(
                stream.name,
                group=reading.group,
                consumer=reading.consumer,
                batch=True,
                max_records=reading.batch,
                polling_interval=_BLOCK_MILLISECONDS,
            ),
            parser=parse,
            decoder=decode,
            # The outlet acknowledges, in one step with publishing.
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
        )
        read = _Read(
            stream=stream, subscriber=subscriber, make=make, metrics=StreamMetrics(stream.name)
        )
        self._reads.append(read)

        @subscriber
        async def take(batch: Batch) -> None:
            await self._handle(read, batch)
            if len(batch.messages) < reading.batch:
                await asyncio.sleep(reading.linger_seconds)

    async def start(self, stopping: asyncio.Event) -> bool:
        """Connect and read; see `Line.start`."""
        self._stopping = stopping
        connected = await until_done(self._connect, stopping, "the broker is not there")
        if not connected:
            return False
        for read in self._reads:
            self._wire(read)
        return bool(await until_done(self._begin, stopping, "the broker is not there"))

    async def look(self) -> None:
        """Count, remove what is done with, and take over what was left; see `Line.look`."""
        for read in self._reads:
            await self._declare(read.stream)
            if read.pending is not None:
                await read.pending.keep()
            if not read.subscriber.running:
                # FastStream gives a stream up whose group is gone, as after a Redis that lost it.
                await read.subscriber.start()
            found = await look(self._client, read.stream.name, self._reading.group, system_clock())
            read.metrics.backlog(found)
            self._see_to_left(read)

    async def stop(self) -> None:
        """Finish what was taken, and disconnect; see `Line.stop`."""
        try:
            await self._finish()
        except Exception:
            log.exception("what was taken could not be finished; others take it over")
        finally:
            await self.broker.stop()

    async def _finish(self) -> None:
        for read in self._reads:
            await read.subscriber.stop()
        if tasks := [read.sees_to for read in self._reads if read.sees_to is not None]:
            # What a batch of theirs holds is given up by itself, as soon as the store has answered.
            await asyncio.wait(tasks, timeout=_LEFT_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, TimeoutError, OSError):
            async with asyncio.timeout(_LAST_SECONDS):
                wired = [(read, read.pending) for read in self._reads if read.pending is not None]
                # First: to finish may take all the time there is.
                for _, pending in wired:
                    await pending.give_back()
                for read, pending in wired:
                    await self._finish_own(read, LAST)
                    await pending.give_back()
                    await pending.dismiss()

    def _wire(self, read: _Read) -> None:
        reading, stream = self._reading, read.stream
        target = Target(stream=stream.name, group=reading.group, out=stream.out, dead=stream.dead)
        outlet = RedisOutlet(self._client, target, reading.most_kept, reading.remember_seconds)
        read.pending = Pending(
            self._client,
            stream.name,
            reading.group,
            reading.consumer,
            reading.batch,
            round(1000 * reading.idle_seconds),
        )
        read.role = read.make(outlet, read.metrics)

    async def _connect(self) -> bool:
        self._client = await self.broker.connect()
        for read in self._reads:
            await self._declare(read.stream)
        return True

    async def _declare(self, stream: Stream) -> None:
        """Make the group where there is none: from the stream's first entry on.

        FastStream would make it at the stream's end, and what came before it would never be read.
        """
        try:
            await self._client.xgroup_create(
                stream.name, self._reading.group, id="0", mkstream=True
            )
        except ResponseError as err:
            if "BUSYGROUP" not in str(err):
                raise

    async def _begin(self) -> bool:
        name = self._reading.group.encode()
        for read in self._reads:
            if read.own is None:
                groups = await self._client.xinfo_groups(read.stream.name)
                read.own = next(one["last-delivered-id"] for one in groups if one["name"] == name)
        await self.broker.start()
        for read in self._reads:
            self._see_to_left(read)
        return True

    async def _handle(self, read: _Read, batch: Batch) -> None:
        if read.role is None or read.pending is None:
            return
        places = places_of(batch.messages)
        read.pending.here |= places
        try:
            await read.role.handle(batch)
        finally:
            read.pending.here -= places
            if self._stopping.is_set():
                read.pending.hold(batch.messages)

    async def _finish_own(self, read: _Read, last: bytes) -> None:
        handled = 1
        while handled and read.pending is not None:
            handled, gone = await read.pending.finish_own(
                lambda batch: self._handle(read, batch), last
            )
            read.metrics.count("trimmed", gone)
            if self._stopping.is_set():
                break

    def _see_to_left(self, read: _Read) -> None:
        """Have what was left taken up beside; a batch of it may take long while a store is down."""
        if read.sees_to is not None and read.sees_to.done():
            if not read.sees_to.cancelled() and (err := read.sees_to.exception()) is not None:
                log.warning("what consumers have left: %s: %s", type(err).__name__, err)
            read.sees_to = None
        if read.sees_to is None and time.monotonic() >= read.see_at:
            read.see_at = time.monotonic() + self._reading.idle_seconds / 3
            read.sees_to = asyncio.create_task(self._take_up(read))

    async def _take_up(self, read: _Read) -> None:
        if read.own is not None:
            await self._finish_own(read, read.own)
            read.own = None
        handled = 1
        while handled and read.pending is not None and not self._stopping.is_set():
            handled, gone = await read.pending.take_over(lambda batch: self._handle(read, batch))
            read.metrics.count("trimmed", gone)
            read.metrics.taken_over(handled)
