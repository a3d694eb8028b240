"""Publish to Kafka: each message under its id as its key, so that readers can tell a duplicate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from trivet.stream.line import Stream
from trivet.stream.taken import Settled

if TYPE_CHECKING:
    from faststream.kafka import KafkaBroker

_REMEMBERED = 100_000
"""Ids, some 10 MB."""


class KafkaOutlet:
    """Settles messages of one topic. They are acknowledged by the batch, after all were published.

    The producer is idempotent: its own retries write nothing twice. A process that ends between
    publishing and acknowledging does; so ids that were answered here are remembered, and readers look
    at the key.
    """

    def __init__(self, broker: KafkaBroker, stream: Stream) -> None:
        """`stream`: the topic, and where its messages end."""
        self._broker = broker
        self._stream = stream
        self._answered: dict[str, None] = {}
        self._published: dict[int, Settled] = {}
        """Of a call that failed, by identity: what the next one with the same messages passes over."""

    async def settle(self, done: Sequence[Settled]) -> int:
        """Publish, and wait until Kafka has it all; see `Outlet.settle`."""
        fresh: dict[str, Settled] = {}
        duplicates = 0
        dead = []
        for one in done:
            if id(one) in self._published:
                continue
            if one.outcome == "dead":
                dead.append(one)
            elif one.outcome == "answered" and one.id is not None:
                if one.id in self._answered or one.id in fresh:
                    duplicates += 1
                else:
                    fresh[one.id] = one
        # The client gathers what is published at once into batches by partition.
        came_of = await asyncio.gather(
            *[self._publish(one, self._stream.out) for one in fresh.values()],
            *[self._publish(one, self._stream.dead) for one in dead],
            return_exceptions=True,
        )
        self._forget()
        if errors := [err for err in came_of if err is not None]:
            raise errors[0]
        self._published.clear()
        return duplicates

    async def _publish(self, one: Settled, topic: str) -> None:
        key = None if one.id is None else one.id.encode()
        await self._broker.publish(one.out, topic=topic, key=key)
        self._published[id(one)] = one
        if one.outcome == "answered" and one.id is not None:
            self._answered[one.id] = None

    def _forget(self) -> None:
        over = max(0, len(self._answered) - _REMEMBERED)
        for old in list(islice(self._answered, over)):
            del self._answered[old]
