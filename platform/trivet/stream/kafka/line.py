"""Topics of Kafka, read by FastStream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaAckableMessage

from trivet.stream.kafka.outlet import KafkaOutlet
from trivet.stream.kafka.security import security
from trivet.stream.line import MakeRole, Reading, Stream
from trivet.stream.metrics import Backlog, StreamMetrics
from trivet.stream.patience import until_done
from trivet.stream.taken import Batch, Role, Taken

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord
    from faststream.kafka.subscriber.usecase import LogicSubscriber

log = logging.getLogger("trivet.stream")

_LAST_SECONDS = 30.0
_HELD_MILLISECONDS = 3_600_000
"""That a batch may be held: after aiokafka's own five minutes a feature store's outage would have
another consumer answer it too. Who hangs, its heart still beating, keeps its partitions as long."""
_LOOK_SECONDS = 5.0
_ENDING_SECONDS = 0.1
"""Pause of a process that is to end, each time it is handed a batch: it takes none."""


@dataclass(slots=True, kw_only=True)
class _Read:
    """One topic that is read."""

    stream: Stream
    make: MakeRole
    metrics: StreamMetrics
    subscriber: LogicSubscriber[Any] | None = None
    role: Role | None = None


class KafkaLine:
    """Topics of one Kafka."""

    def __init__(self, servers: list[str], reading: Reading) -> None:
        """`servers`: host and port of one or more brokers.

        Raises:
            BadSetting: the environment's security options do not fit.
        """
        self._reading = reading
        self.broker = KafkaBroker(
            servers,
            apply_types=False,
            security=security(),
            client_id=reading.consumer,
            enable_idempotence=True,
            acks="all",
            logger=log,
            log_level=logging.DEBUG,
            graceful_timeout=_LAST_SECONDS,
        )
        self._reads: list[_Read] = []
        self._stopping = asyncio.Event()

    def add(self, stream: Stream, make: MakeRole) -> None:
        """Read a topic; see `Line.add`."""
        read = _Read(stream=stream, make=make, metrics=StreamMetrics(stream.name))
        read.role = make(KafkaOutlet(self.broker, stream), read.metrics)
        reading = self._reading

        async def parse(records: tuple[ConsumerRecord[Any, Any], ...]) -> KafkaAckableMessage:
            return _parse(read, records)

        subscriber: Any = self.broker.subscriber(
            stream.name,
            group_id=reading.group,
            batch=True,
            max_records=reading.batch,
            batch_timeout_ms=max(1, round(1000 * reading.linger_seconds)),
            # A group that is new reads from the topic's first record on.
            auto_offset_reset="earliest",
            max_poll_interval_ms=_HELD_MILLISECONDS,
            # Offsets are committed once everything up to them is published.
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=parse,
            decoder=_decode,
        )
        read.subscriber = subscriber
        self._reads.append(read)

        @subscriber
        async def take(batch: Batch) -> None:
            await self._take(read, batch)

    async def start(self, stopping: asyncio.Event) -> bool:
        """Connect and read; see `Line.start`."""
        self._stopping = stopping
        return bool(await until_done(self._begin, stopping, "the broker is not there"))

    async def look(self) -> None:
        """Count what waits: from what is committed to each partition's end; see `Line.look`."""
        if not await self.broker.ping(timeout=2.0):
            raise ConnectionError("Kafka does not answer")
        for read in self._reads:
            consumer = None if read.subscriber is None else read.subscriber.consumer
            if consumer is not None:
                # A client that looks for its coordinator would hold up the end of the process.
                async with asyncio.timeout(_LOOK_SECONDS):
                    waiting = await _waiting(consumer)
                read.metrics.backlog(Backlog(waiting=waiting, pending=0, oldest_seconds=0.0))

    async def stop(self) -> None:
        """Finish what was taken, and disconnect; see `Line.stop`."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(2 * _LAST_SECONDS):
                await self.broker.stop()

    async def _take(self, read: _Read, batch: Batch) -> None:
        """Hand a batch to its role; have it read again unless it is committed at the end.

        A commit says where reading stands, so that of the next batch would go past this one.
        """
        assert read.role is not None  # noqa: S101 - made by `add`
        finished = False
        commit = batch.finish

        async def finish() -> None:
            nonlocal finished
            try:
                await commit()
            except (CommitFailedError, IllegalStateError) as err:
                # Others have its partitions, or will, and this process joins again only by reading on.
                log.warning("a batch was published and not committed: %s", type(err).__name__)
            finished = True

        batch.finish = finish
        try:
            # FastStream reads on until `stop`, which comes a little after the signal.
            if self._stopping.is_set():
                await asyncio.sleep(_ENDING_SECONDS)
            else:
                await read.role.handle(batch)
        finally:
            if not finished:
                await batch.again()

    async def _begin(self) -> bool:
        try:
            await self.broker.start()
        except BaseException:
            await self.broker.stop()
            raise
        return True


async def _waiting(consumer: AIOKafkaConsumer) -> int:
    """Count what the group has not committed of the partitions that this consumer has.

    Where reading stands says less: it is past a batch that is held.
    """
    partitions = list(consumer.assignment())
    if not partitions:
        return 0
    first, end = await asyncio.gather(
        consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    )
    committed = await asyncio.gather(*[consumer.committed(one) for one in partitions])
    done = zip(partitions, committed, strict=True)
    # What retention has taken away does not wait, and a new group begins with the first record.
    return sum(max(0, end[one] - max(first[one], offset or 0)) for one, offset in done)


def _parse(read: _Read, records: tuple[ConsumerRecord[Any, Any], ...]) -> KafkaAckableMessage:
    """Wrap records that were read together; their bytes and headers stay as they are."""
    consumer = None if read.subscriber is None else read.subscriber.consumer
    return KafkaAckableMessage(
        raw_message=records,
        body=b"",
        consumer=consumer or FAKE_CONSUMER,
        correlation_id="",
        message_id="",
    )


async def _decode(message: KafkaAckableMessage) -> Batch:
    """Return the batch that a handler takes."""

    async def again() -> None:
        first: dict[TopicPartition, int] = {}
        for record in message.raw_message:
            partition = TopicPartition(record.topic, record.partition)
            first[partition] = min(record.offset, first.get(partition, record.offset))
        for partition, offset in first.items():
            # What was handed to another consumer meanwhile is not committed from here.
            with contextlib.suppress(IllegalStateError):
                message.consumer.seek(partition, offset)

    return Batch(
        messages=[
            Taken(
                body=record.value or b"",
                at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
                place=(record.topic, record.partition, record.offset),
            )
            for record in message.raw_message
        ],
        finish=message.ack,
        again=again,
    )
