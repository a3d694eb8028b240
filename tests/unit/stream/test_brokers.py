"""The same handlers behind FastStream's test brokers, of Redis and of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import ConsumerRecord
from faststream.kafka import TestKafkaBroker
from faststream.redis import TestRedisBroker

from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.serving.dataplane import DataPlane
from trivet.stream.address import parse_address
from trivet.stream.kafka.line import KafkaLine
from trivet.stream.kafka.security import security
from trivet.stream.line import Reading, Stream
from trivet.stream.predicting import Predictions
from trivet.stream.pushing import FeatureEvents
from trivet.stream.redis.line import RedisLine
from trivet.stream.running import open_line
from unit.fakes import NOON, FakeReader, FakeRecorder, ask, filled_slot, settings, version
from unit.stream.streams import FakeOutlet, FakeSource, soon

READING = Reading(
    group="g",
    consumer="c",
    batch=10,
    linger_seconds=0.001,
    idle_seconds=30.0,
    most_kept=1000,
    remember_seconds=60,
)
REQUESTS = Stream(name="requests", dead="requests.dead", out="predictions")
EVENTS = Stream(name="features", dead="features.dead")
PARTITION = TopicPartition("requests", 0)
REQUEST = {"id": "1", "instance": ask(amount=7.0)}
EVENT = {"id": "1", "source": "a", "row": {"n": 1}}


@pytest.fixture
def roles(tmp_path: Path) -> dict[str, Callable[..., Any]]:
    """Return what makes the handlers of both streams."""
    slot = filled_slot(tmp_path, version())
    dataplane = DataPlane(slot, settings(tmp_path), lambda: NOON, FakeRecorder())
    stopping = asyncio.Event()
    return {
        "requests": lambda outlet, metrics: Predictions(
            dataplane, outlet, metrics, stopping, 5, lambda: NOON
        ),
        "features": lambda outlet, metrics: FeatureEvents(
            lambda _: FakeSource(), outlet, metrics, stopping, 5
        ),
    }


def test_redis_hands_messages_of_either_stream_to_its_handler(
    roles: dict[str, Callable[..., Any]],
) -> None:
    """With or without FastStream's envelope; what is no JSON is handed on as well."""
    line = RedisLine("redis://127.0.0.1:6379", READING)
    outlets = {"requests": FakeOutlet(), "features": FakeOutlet()}
    for stream in (REQUESTS, EVENTS):
        line.add(stream, roles[stream.name])
    for read in line._reads:
        read.role = read.make(outlets[read.stream.name], read.metrics)
        read.pending = _Nothing()  # type: ignore[assignment]

    async def story() -> None:
        async with TestRedisBroker(line.broker) as broker:
            await broker.publish(REQUEST, stream="requests")
            await broker.publish(b"\xff", stream="requests")
            await broker.publish(EVENT, stream="features")

    asyncio.run(story())
    assert outlets["requests"].outcomes == [("1", "answered"), (None, "dead")]
    assert outlets["requests"].out(0)["prediction"] == {"value": 7.0}
    assert outlets["features"].outcomes == [("1", "pushed")]


def test_kafka_hands_messages_to_the_same_handlers_and_publishes_what_came_of_them(
    roles: dict[str, Callable[..., Any]],
) -> None:
    """Under the message's id as the key; an id that was answered here is not answered again."""
    line = KafkaLine(["127.0.0.1:9092"], READING)
    for stream in (REQUESTS, EVENTS):
        line.add(stream, roles[stream.name])
    published = _listen(line, "predictions", "requests.dead", "features.dead")

    async def story() -> None:
        async with TestKafkaBroker(line.broker) as broker:
            for message in (REQUEST, REQUEST, b"\xff", {"id": "2", "instance": {}}):
                await broker.publish(message, topic="requests")
            await broker.publish(EVENT, topic="features")
            await broker.publish({"id": "e", "source": "a", "row": {}}, topic="features")

    asyncio.run(story())
    assert [(topic, key) for topic, key, _ in published] == [
        ("predictions", b"1"),
        ("requests.dead", None),
        ("requests.dead", b"2"),
        ("features.dead", b"e"),
    ]
    assert published[0][2]["prediction"] == {"value": 7.0}
    assert published[2][2]["reason"]["status"] == 422


class Consumer:
    """A group's only consumer of a topic with one partition."""

    def __init__(self, *messages: dict[str, Any], at_once: int = 1) -> None:
        """Nothing is read, nothing committed; `at_once`: so many records are a batch."""
        self.at_once = at_once
        self.records = [_record(n, orjson.dumps(message)) for n, message in enumerate(messages)]
        self.next = self.committed_offset = 0
        self.assigned = True
        self.too_long = False
        """Whether it holds the first batch for so long that its group goes on without it."""
        self.done = asyncio.Event()

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        """Return the next records, and go on to those after them."""
        await asyncio.sleep(0)
        read = self.records[self.next : self.next + self.at_once]
        self.next += len(read)
        return {PARTITION: read} if read else {}

    async def commit(self) -> None:
        """Commit as aiokafka does: whatever was read."""
        if self.too_long and self.next == 1:
            raise CommitFailedError
        self.committed_offset = self.next
        if self.next == len(self.records):
            self.done.set()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read from there on."""
        if not self.assigned:
            raise IllegalStateError(partition)
        self.next = offset


def test_a_stop_commits_nothing_that_was_held(tmp_path: Path) -> None:
    """Nor takes what comes after it, although FastStream reads on for a moment."""
    stopping = asyncio.Event()
    reader = FakeReader(error=FeaturesUnavailable("down"))
    slot = filled_slot(tmp_path, version(reader=reader))
    dataplane = DataPlane(slot, settings(tmp_path), lambda: NOON, FakeRecorder())
    outlet = FakeOutlet()
    line = KafkaLine(["127.0.0.1:9092"], READING)
    line.add(
        REQUESTS,
        lambda _, metrics: Predictions(dataplane, outlet, metrics, stopping, 5, lambda: NOON),
    )
    consumer = Consumer(REQUEST, {"id": "2", "instance": ask(amount=8.0)})

    async def story() -> None:
        async with TestKafkaBroker(line.broker):
            await line.start(stopping)
            with _reading(line, consumer):
                await soon(stopping)
                reader.error = None
                await asyncio.sleep(0.25)

    asyncio.run(story())
    assert not outlet.settled
    assert consumer.committed_offset == 0


@pytest.mark.parametrize("assigned", [True, False])
def test_what_is_published_is_committed_and_a_batch_that_fails_is_read_again(
    assigned: bool,
) -> None:
    """Unless another consumer has its partition by then."""
    line = KafkaLine(["127.0.0.1:9092"], READING)
    handled: list[Any] = []

    class Role:
        """Fails once, at the second message."""

        async def handle(self, batch: Any) -> None:
            (taken,) = batch.messages
            handled.append(taken.place[2])
            if handled == [0, 1]:
                consumer.assigned = assigned
                raise ValueError("once")
            await batch.finish()

    line.add(REQUESTS, lambda *_: Role())
    consumer = Consumer(REQUEST, REQUEST, REQUEST)

    async def story() -> None:
        async with TestKafkaBroker(line.broker):
            with _reading(line, consumer):
                await consumer.done.wait()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert handled == ([0, 1, 1, 2] if assigned else [0, 1, 2])
    assert consumer.committed_offset == 3


def test_while_kafka_takes_some_answers_and_not_others_each_is_published_once(
    roles: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the batch is committed after the last of them."""
    line = KafkaLine(["127.0.0.1:9092"], READING)
    line.add(REQUESTS, roles["requests"])
    published = _listen(line, "predictions")
    consumer = Consumer(*[{**REQUEST, "id": name} for name in "abc"], at_once=3)
    publish, refused = line.broker.publish, [b"b", b"b", b"c"]

    async def refusing(*message: Any, key: Any, **where: Any) -> Any:
        assert consumer.committed_offset == 0
        if key in refused:
            refused.remove(key)
            raise ConnectionError("no leader")
        return await publish(*message, key=key, **where)

    async def story() -> None:
        async with TestKafkaBroker(line.broker):
            monkeypatch.setattr(line.broker, "publish", refusing)
            with _reading(line, consumer):
                await consumer.done.wait()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert sorted(key or b"" for _, key, _ in published) == [b"a", b"b", b"c"]
    assert consumer.committed_offset == 3


def test_who_was_held_for_too_long_reads_on_and_joins_its_group_by_that(
    roles: dict[str, Callable[..., Any]],
) -> None:
    """To commit what it held is refused until then; it is published, and answered no second time."""
    line = KafkaLine(["127.0.0.1:9092"], READING)
    line.add(REQUESTS, roles["requests"])
    published = _listen(line, "predictions")
    consumer = Consumer(*[{**REQUEST, "id": name} for name in "ab"])
    consumer.too_long = True

    async def story() -> None:
        async with TestKafkaBroker(line.broker):
            with _reading(line, consumer):
                await consumer.done.wait()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert [key for _, key, _ in published] == [b"a", b"b"]
    assert consumer.committed_offset == 2


def test_kafka_is_read_from_the_first_record_and_acknowledged_by_hand() -> None:
    """What aiokafka is made with: nothing is committed by itself, and retries write nothing twice."""
    line = KafkaLine(["a:9092", "b:9092"], READING)
    line.add(REQUESTS, lambda *_: None)  # type: ignore[arg-type,return-value]
    subscriber: Any = line._reads[0].subscriber
    made = subscriber._connection_args
    assert made["auto_offset_reset"] == "earliest"
    assert made["enable_auto_commit"] is False
    assert made["max_poll_interval_ms"] == 3_600_000
    assert subscriber.group_id == "g"
    assert subscriber.max_records == 10
    options = line.broker._connection_kwargs
    assert options["enable_idempotence"] is True
    assert options["acks"] == "all"
    assert options["bootstrap_servers"] == ["a:9092", "b:9092"]


def test_kafkas_security_is_said_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names of Kafka's own clients."""
    assert security() is None
    monkeypatch.setenv("TRIVET_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("TRIVET_KAFKA_USERNAME", "ann")
    monkeypatch.setenv("TRIVET_KAFKA_PASSWORD", "secret")
    options = KafkaLine(["a:9092"], READING).broker._connection_kwargs
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("ann", "secret")
    assert options["ssl_context"] is not None
    monkeypatch.setenv("TRIVET_KAFKA_SECURITY_PROTOCOL", "SSL")
    assert KafkaLine(["a:9092"], READING).broker._connection_kwargs["security_protocol"] == "SSL"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "TRIVET_KAFKA_SECURITY_PROTOCOL"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "there is no user"),
        ({"USERNAME": "ann"}, "nothing uses it"),
        ({"SECURITY_PROTOCOL": "SSL", "CA_FILE": "nowhere.pem"}, "nowhere.pem cannot be read"),
    ],
)
def test_security_that_does_not_fit_is_refused(
    variables: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is connected."""
    for name, value in variables.items():
        monkeypatch.setenv(f"TRIVET_KAFKA_{name}", value)
    with pytest.raises(BadSetting, match=sentence):
        security()


def test_an_address_says_which_broker_it_is() -> None:
    """Redis' in its own client's form, Kafka's with all the hosts that are asked."""
    redis = parse_address("rediss://ann:secret@cache:6380/1")
    assert redis.kind == "redis"
    assert redis.shown == "rediss://cache:6380/1"
    assert isinstance(open_line(redis, READING), RedisLine)
    kafka = parse_address("kafka://a:9092,b:9093")
    assert kafka.servers == ["a:9092", "b:9093"]
    assert isinstance(open_line(kafka, READING), KafkaLine)


@pytest.mark.parametrize("url", ["", "amqp://a", "a:9092", "kafka://", "kafka://u:p@a:9092"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """With an example of each."""
    with pytest.raises(BadSetting):
        parse_address(url)


class Offsets:
    """A consumer of two partitions of which something is held."""

    def __init__(self, *committed: int | None) -> None:
        """Offsets by partition, None where there is none."""
        self._committed = {TopicPartition("requests", n): at for n, at in enumerate(committed)}

    def assignment(self) -> set[TopicPartition]:
        """Return both."""
        return set(self._committed)

    async def committed(self, partition: TopicPartition) -> int | None:
        """Return what the group has committed."""
        return self._committed[partition]

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[Any, int]:
        """Retention has taken ten records."""
        return dict.fromkeys(partitions, 10)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[Any, int]:
        """Return what the next records will have."""
        return dict.fromkeys(partitions, 50)


@pytest.mark.parametrize(
    ("committed", "waiting"),
    [((30, 50), 20), ((None, 50), 40), ((5, None), 80), ((50, 50), 0)],
)
def test_kafkas_lag_is_what_is_not_committed(
    committed: tuple[int | None, ...], waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held counts; what retention has taken away does not."""
    line = KafkaLine(["127.0.0.1:9092"], READING)
    line.add(REQUESTS, lambda *_: None)  # type: ignore[arg-type,return-value]
    read = line._reads[0]
    assert read.subscriber is not None
    read.subscriber.consumer = Offsets(*committed)  # type: ignore[assignment]
    counted: list[Any] = []
    monkeypatch.setattr(line.broker, "ping", _there)
    monkeypatch.setattr(read.metrics, "backlog", counted.append)
    asyncio.run(line.look())
    assert [backlog.waiting for backlog in counted] == [waiting]


def test_a_look_ends_also_while_the_group_has_no_coordinator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client would look for one without an end, and the process ends after a look."""

    class Looking(Offsets):
        """Finds no coordinator."""

        async def committed(self, partition: TopicPartition) -> int | None:
            del partition
            await asyncio.Event().wait()
            raise AssertionError

    line = KafkaLine(["127.0.0.1:9092"], READING)
    line.add(REQUESTS, lambda *_: None)  # type: ignore[arg-type,return-value]
    assert line._reads[0].subscriber is not None
    line._reads[0].subscriber.consumer = Looking(1)  # type: ignore[assignment]
    monkeypatch.setattr(line.broker, "ping", _there)
    monkeypatch.setattr("trivet.stream.kafka.line._LOOK_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(line.look())


async def _there(**_: Any) -> bool:
    return True


def _record(offset: int, value: bytes) -> Any:
    return ConsumerRecord(
        topic="requests",
        partition=0,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        key=None,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=len(value),
        headers=(),
    )


@contextmanager
def _reading(line: KafkaLine, consumer: Consumer) -> Iterator[None]:
    """Have FastStream's own loop read the line's first topic."""
    subscriber: Any = line._reads[0].subscriber
    subscriber.consumer, subscriber.running = consumer, True
    loop = asyncio.create_task(subscriber._run_consume_loop(consumer))
    try:
        yield
    finally:
        subscriber.running = False
        loop.cancel()


def _listen(line: KafkaLine, *topics: str) -> list[tuple[str, bytes | None, Any]]:
    """Collect what is published on topics, with its key."""
    heard: list[tuple[str, bytes | None, Any]] = []
    for topic in topics:
        subscriber: Any = line.broker.subscriber(topic, parser=_as_it_came, decoder=_raw)

        @subscriber
        async def hear(record: Any) -> None:
            heard.append((record.topic, record.key or None, orjson.loads(record.value)))

    return heard


async def _as_it_came(record: Any, original: Callable[..., Any]) -> Any:
    return await original(record)


async def _raw(message: Any) -> Any:
    return message.raw_message


class _Nothing:
    """No entries are pending."""

    def __init__(self) -> None:
        self.here: set[bytes] = set()
