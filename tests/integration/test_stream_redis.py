"""Prediction requests over a real Redis: each answered once, whatever ends, hangs or is down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio

from contract.servers import RedisServer
from integration.streaming import GROUP, Shop, twice
from trivet.errors import FeaturesUnavailable
from trivet.stream.messages import DATA_FIELD
from trivet.stream.predicting import Predictions
from trivet.stream.redis.backlog import look
from trivet.stream.redis.outlet import RedisOutlet, Target
from trivet.stream.redis.pending import Pending
from trivet.stream.taken import Batch, Settled, Taken
from unit.fakes import NOON, FakeReader


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis that keeps what it holds."""
    with RedisServer(tmp_path_factory.mktemp("redis"), keeps=True) as running:
        yield running


@pytest.fixture
def shop(server: RedisServer, tmp_path: Path) -> Shop:
    """Return streams that no other test uses."""
    return Shop(server=server, folder=tmp_path)


def test_requests_are_answered_in_their_order(shop: Shop) -> None:
    """Those that came before the consumer, too; then the stream is empty and nothing is pending."""
    shop.send(range(300))

    async def story() -> None:
        async with shop.consumer():
            shop.send(range(300, 400))
            await shop.until(lambda: len(shop.answered()) == 400 and not shop.left())

    asyncio.run(story())
    assert shop.answered() == [str(n) for n in range(400)]
    assert not shop.pending()


def test_consumers_of_a_group_share_the_work(shop: Shop) -> None:
    """Each answers some of it, and none of it twice."""

    async def story() -> list[int]:
        patient = {"idle_seconds": 600}  # else one takes over from the other on a slow machine
        async with shop.consumer("a", **patient) as one, shop.consumer("b", **patient) as other:
            for start in range(0, 2000, 100):
                shop.send(range(start, start + 100))
                await asyncio.sleep(0.01)
            await shop.until(lambda: len(shop.answered()) >= 2000)
            return [one.rows, other.rows]

    shares = asyncio.run(story())
    assert min(shares) > 0
    assert sum(shares) == len(set(shop.answered())) == len(shop.answered()) == 2000


def test_what_a_dead_consumer_holds_is_taken_over(shop: Shop) -> None:
    """Once it has given no sign of life for long enough, and not before."""
    shop.send(range(120))
    shop.take("dead", 100)

    async def story() -> None:
        async with shop.consumer():
            await shop.until(lambda: len(shop.answered()) == 20)
            await shop.until(lambda: len(shop.answered()) == 120)

    asyncio.run(story())
    assert not twice(shop.answered())
    assert not shop.pending()


def test_a_consumer_takes_up_at_once_what_it_held_under_its_name(shop: Shop) -> None:
    """After a restart it waits for nobody."""
    shop.send(range(10))
    shop.take("c", 10)

    async def story() -> None:
        async with shop.consumer("c", idle_seconds=600):
            await shop.until(lambda: len(shop.answered()) == 10)

    asyncio.run(story())
    assert not shop.pending()


def test_what_it_held_under_its_name_does_not_keep_a_consumer_from_beginning(shop: Shop) -> None:
    """While the store is down it holds that as anything else, with signs of life, and reads on."""
    shop.reader.error = FeaturesUnavailable("down")
    shop.send(range(10))
    shop.take("c", 10)

    async def story() -> None:
        async with shop.consumer("c", idle_seconds=0.5):
            shop.send(range(10, 15))
            await shop.until(lambda: len(shop.pending()) == 15)
            await asyncio.sleep(1)
            # Without a sign of life it would only grow.
            await shop.until(lambda: all(e["time_since_delivered"] < 500 for e in shop.pending()))
            shop.reader.error = None
            await shop.until(lambda: len(shop.answered()) == 15)

    asyncio.run(story())
    assert not twice(shop.answered())


def test_one_that_ends_its_consumers_is_given_up_alone(shop: Shop) -> None:
    """After five deliveries; those beside it in its first batch are answered."""
    shop.send(range(20))
    places = shop.take("dead", 20)
    with shop.client as client:
        for _ in range(4):
            client.xclaim(shop.name, GROUP, "dead", 0, [places[7]])

    async def story() -> None:
        async with shop.consumer():
            await shop.until(lambda: len(shop.answered()) == 19 and len(shop.messages("dead")) == 1)

    asyncio.run(story())
    (letter,) = shop.messages("dead")
    assert (letter["id"], letter["deliveries"]) == ("7", 6)
    assert "5 consumers in a row" in letter["reason"]["detail"]
    assert "7" not in shop.answered()


def test_what_is_no_request_goes_to_the_dead_letters_with_its_reason(shop: Shop) -> None:
    """And holds up nobody; an entry without the field is one of them."""
    shop.send([1], b"\xff", b'{"id": "x", "instance": {}}')
    with shop.client as client:
        client.xadd(shop.name, {"other": "field"})
    shop.send([2])

    async def story() -> None:
        async with shop.consumer():
            await shop.until(lambda: len(shop.answered()) == 2 and not shop.left())

    asyncio.run(story())
    letters = shop.messages("dead")
    assert [letter["id"] for letter in letters] == [None, "x", None]
    assert [letter["reason"]["status"] for letter in letters] == [400, 422, 400]


def test_json_that_is_nested_deeply_holds_up_nobody(shop: Shop) -> None:
    """It may be read and not written: its dead letter has it as text."""
    deep = b'{"id": "deep", "instance": {"x": %s}}' % (b"[" * 900 + b"]" * 900)
    shop.send([1], deep)
    shop.take("c", 2)
    shop.send([2], deep)

    async def story() -> None:
        async with shop.consumer("c"):
            await shop.until(lambda: len(shop.answered()) == 2 and not shop.left())

    asyncio.run(story())
    assert [letter["message"] for letter in shop.messages("dead")] == 2 * [deep.decode()]


def test_what_cannot_be_handled_does_not_hide_what_is_behind_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was left: the first part fails each time, and the one behind it is answered."""
    shop.send(range(3))
    places = shop.take("dead", 3)
    with shop.client as client:
        client.xclaim(shop.name, GROUP, "dead", 0, places)
    handle = Predictions.handle

    async def failing(self: Predictions, batch: Batch) -> None:
        if any(one.place == places[0] for one in batch.messages):
            raise ValueError("a bug")
        await handle(self, batch)

    monkeypatch.setattr(Predictions, "handle", failing)

    async def story() -> None:
        async with shop.consumer("dead"):
            await shop.until(lambda: shop.answered() == ["1", "2"])

    asyncio.run(story())
    assert [one["message_id"] for one in shop.pending()] == places[:1]


def test_a_stop_disconnects_whatever_fails(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken stays pending, for others."""
    shop.send(range(3))

    async def failing(*_: Any) -> None:
        raise ValueError("a bug")

    async def story() -> None:
        consumer = shop.make("c")
        await consumer.start()
        monkeypatch.setattr(Pending, "dismiss", failing)
        await consumer.stop()
        assert not consumer.line.broker.running

    monkeypatch.setattr(Predictions, "handle", failing)
    asyncio.run(story())
    assert len(shop.pending()) == 3


def test_an_id_that_was_sent_twice_is_answered_once(shop: Shop) -> None:
    """In one batch, in two, or by another consumer."""
    shop.send([1, 1, 2])

    async def story() -> None:
        async with shop.consumer("a"):
            await shop.until(lambda: not shop.left())
        async with shop.consumer("b"):
            shop.send([2, 3])
            await shop.until(lambda: not shop.left())

    asyncio.run(story())
    assert shop.answered() == ["1", "2", "3"]
    with shop.client as client:
        remembered = client.keys(f"{shop.name}.answered:*")
        assert remembered
        assert all(0 < client.ttl(key) <= 120 for key in remembered)


def test_of_two_that_hold_one_message_one_answers(shop: Shop) -> None:
    """Whoever is first; to settle again what is settled changes nothing."""
    shop.send([1])
    (place,) = shop.take("c", 1)
    taken = Taken(body=b"", at=NOON, place=place)
    done = Settled(taken=taken, id="1", outcome="answered", out=b'{"id": "1"}')
    target = Target(stream=shop.name, group=GROUP, out=f"{shop.name}.out", dead="dead")

    async def story() -> list[int]:
        async with redis.asyncio.Redis(port=shop.server.port) as client:
            # Without the memory of ids: acknowledging alone decides.
            outlets = [RedisOutlet(client, target, 1000, 0) for _ in range(8)]
            return list(await asyncio.gather(*[outlet.settle([done]) for outlet in outlets]))

    assert sorted(asyncio.run(story())) == [0] + 7 * [1]
    assert shop.answered() == ["1"]


def test_while_it_works_on_a_batch_for_long_nobody_takes_it_over(shop: Shop) -> None:
    """The feature store is down for longer than a consumer may be silent; it counts as no delivery."""
    shop.reader.error = FeaturesUnavailable("down")
    shop.send(range(80))

    async def story() -> None:
        async with shop.consumer("a", idle_seconds=0.5) as one:
            await shop.until(lambda: len(shop.pending()) == 50)
            async with shop.consumer("b", idle_seconds=0.5):
                await asyncio.sleep(2)
                held = shop.pending()
                # Back-pressure: each holds one batch, and the rest stays where it is.
                assert len(held) == 80
                assert {entry["times_delivered"] for entry in held} == {1}
                assert len({entry["consumer"] for entry in held}) == 2
                assert not shop.answered()
                shop.reader.error = None
                await shop.until(lambda: len(shop.answered()) == 80)
            assert one.rows == 50

    asyncio.run(story())
    assert not twice(shop.answered())
    assert not shop.messages("dead")


def test_restarts_while_a_store_is_down_send_nothing_to_the_dead_letters(shop: Shop) -> None:
    """However many: under the same name, and under others that take over what was held."""
    shop.reader.error = FeaturesUnavailable("down")
    shop.send(range(3))

    async def story() -> None:
        for name in "aaaaababa":
            async with shop.consumer(name, idle_seconds=0.2):
                reads = len(shop.reader.reads)
                await shop.until(lambda reads=reads: len(shop.reader.reads) > reads)
                held = shop.pending()
                assert {one["consumer"] for one in held} == {name.encode()}
                assert {one["times_delivered"] for one in held} == {1}
        assert {one["times_delivered"] for one in shop.pending()} == {0}
        shop.reader.error = None
        async with shop.consumer("c", idle_seconds=0.2):
            await shop.until(lambda: len(shop.answered()) == 3)

    asyncio.run(story())
    assert not shop.messages("dead")


def test_while_a_store_is_down_no_more_than_a_batch_is_taken(shop: Shop) -> None:
    """The rest waits in the broker."""
    shop.reader.error = FeaturesUnavailable("down")
    shop.send(range(500))

    async def story() -> None:
        async with shop.consumer():
            await asyncio.sleep(1)
            assert len(shop.pending()) == 50
            shop.reader.error = None
            await shop.until(lambda: len(shop.answered()) == 500)

    asyncio.run(story())


def test_a_broker_that_is_killed_and_comes_back_loses_nothing(shop: Shop) -> None:
    """Requests before, meanwhile held by a consumer, and after: each answered once."""
    shop.send(range(1000))

    async def story() -> None:
        async with shop.consumer(batch=20):
            await shop.until(lambda: len(shop.answered()) > 100)
            shop.server.stop()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(shop.server.start)
            shop.send(range(1000, 1100))
            await shop.until(lambda: len(shop.answered()) >= 1100, within=40)

    asyncio.run(story())
    assert not twice(shop.answered())
    assert set(shop.answered()) == {str(n) for n in range(1100)}


def test_a_broker_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """The consumer starts first."""
    server = RedisServer(tmp_path)
    shop = Shop(server=server, folder=tmp_path)

    async def story() -> None:
        consumer = shop.make("c")
        starting = asyncio.create_task(consumer.start())
        await asyncio.sleep(0.5)
        assert not starting.done()
        await asyncio.to_thread(server.start)
        await starting
        shop.send([1])
        await shop.until(lambda: shop.answered() == ["1"])
        await consumer.stop()

    try:
        asyncio.run(story())
    finally:
        server.stop()


def test_a_stop_does_not_wait_for_a_broker_that_is_not_there(tmp_path: Path) -> None:
    """Before it was ever there, and after it has gone with answers that nobody could take."""
    server = RedisServer(tmp_path)
    shop = Shop(server=server, folder=tmp_path)

    async def story() -> None:
        consumer = shop.make("c")
        starting = asyncio.create_task(consumer.begin())
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            await consumer.stop()
            assert await starting is False
        await asyncio.to_thread(server.start)
        consumer = shop.make("d")
        await consumer.start()
        await asyncio.to_thread(server.stop)
        async with asyncio.timeout(20):
            await consumer.stop()

    try:
        asyncio.run(story())
    finally:
        server.stop()


def test_a_broker_that_has_lost_everything_is_read_again(shop: Shop) -> None:
    """The group is made anew, without a restart."""
    shop.send([1])

    async def story() -> None:
        async with shop.consumer():
            await shop.until(lambda: len(shop.answered()) == 1)
            with shop.client as client:
                client.delete(shop.name)
            shop.send([2])
            await shop.until(lambda: shop.answered() == ["1", "2"], within=40)

    asyncio.run(story())


def test_a_graceful_stop_finishes_what_was_taken(shop: Shop) -> None:
    """Nothing is pending then, the consumer is off the list, and the next goes on from there."""
    shop.send(range(3000))

    async def story() -> int:
        async with shop.consumer("a", batch=20):
            await shop.until(lambda: len(shop.answered()) > 50)
        stopped = len(shop.answered())
        assert not shop.pending()
        with shop.client as client:
            assert client.xinfo_consumers(shop.name, GROUP) == []
        async with shop.consumer("b"):
            await shop.until(lambda: len(shop.answered()) == 3000)
        return stopped

    assert asyncio.run(story()) < 3000
    assert shop.answered() == [str(n) for n in range(3000)]


def test_a_stop_waits_for_a_read_that_is_under_way(shop: Shop) -> None:
    """Its answers go out and are acknowledged before the consumer is gone."""
    blocked = threading.Event()
    shop.reader = FakeReader(blocked=blocked)
    shop.send(range(10))

    async def story() -> None:
        consumer = shop.make("c")
        await consumer.start()
        await shop.until(lambda: len(shop.pending()) == 10 and bool(shop.reader.reads))
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        blocked.set()
        await stopping

    asyncio.run(story())
    assert len(shop.answered()) == 10
    assert not shop.pending()


def test_requests_that_another_group_has_still_to_read_stay(shop: Shop) -> None:
    """The stream is trimmed to what all groups are done with."""
    shop.send(range(100))
    with shop.client as client:
        client.xgroup_create(shop.name, "audit", id="0")

    async def story() -> None:
        async with shop.consumer():
            await shop.until(lambda: len(shop.answered()) == 100)
            await asyncio.sleep(0.5)
            assert shop.left() == 100
            with shop.client as client:
                read = client.xreadgroup("audit", "x", {shop.name: ">"}, count=40)
                client.xack(shop.name, "audit", *[place for place, _ in read[0][1]])
            await shop.until(lambda: shop.left() == 60)

    asyncio.run(story())


def test_predictions_and_dead_letters_are_bounded(shop: Shop) -> None:
    """About: Redis trims whole nodes of a hundred entries."""
    shop.send(range(2000), *[b"{"] * 2000)

    async def story() -> None:
        async with shop.consumer(most_kept=500):
            await shop.until(lambda: not shop.left())

    asyncio.run(story())
    assert 500 <= len(shop.answered()) <= 600
    assert 500 <= len(shop.messages("dead")) <= 600
    assert shop.answered()[-1] == "1999"


def test_the_backlog_is_what_is_not_acknowledged_yet(shop: Shop) -> None:
    """With what consumers hold of it, and the age of the oldest."""
    shop.send(range(30))
    places = shop.take("dead", 10)
    with shop.client as client:
        client.xack(shop.name, GROUP, *places[:4])

    async def found() -> Any:
        async with redis.asyncio.Redis(port=shop.server.port) as client:
            return await look(client, shop.name, GROUP, datetime.now(UTC))

    backlog = asyncio.run(found())
    assert (backlog.waiting, backlog.pending) == (26, 6)
    assert 0 <= backlog.oldest_seconds < 20
    assert shop.left() == 26


def test_pending_messages_that_were_trimmed_away_are_let_go(shop: Shop) -> None:
    """They are counted as lost, and not looked for again and again."""
    shop.send(range(10))
    places = shop.take("dead", 10)
    with shop.client as client:
        client.xdel(shop.name, *places[:3])

    async def story() -> None:
        async with shop.consumer():
            await shop.until(lambda: len(shop.answered()) == 7 and not shop.pending())

    asyncio.run(story())


def test_what_was_settled_while_it_was_to_be_taken_over_is_not_lost(shop: Shop) -> None:
    """Its consumer was slow and not dead: between the look at what is left and the claim it ended."""
    shop.send(range(10))
    places = shop.take("slow", 10)
    handled: list[Batch] = []

    async def handle(batch: Batch) -> None:
        handled.append(batch)

    async def story() -> tuple[int, int]:
        async with redis.asyncio.Redis(port=shop.server.port) as client:
            look = client.xpending_range

            async def looked(*which: Any, **more: Any) -> Any:
                found = await look(*which, **more)
                await client.xack(shop.name, GROUP, *places[:6])
                await client.xdel(shop.name, *places[:6])
                return found

            client.xpending_range = looked
            return await Pending(client, shop.name, GROUP, "c", 50, 0).take_over(handle)

    assert asyncio.run(story()) == (4, 0)
    assert [one.place for batch in handled for one in batch.messages] == places[6:]


def test_a_message_in_faststreams_own_envelope_is_read(shop: Shop) -> None:
    """Whoever publishes by FastStream's default need not know."""
    from faststream.redis import RedisBroker

    async def story() -> None:
        async with RedisBroker(f"redis://127.0.0.1:{shop.server.port}") as broker:
            message = {"id": "1", "instance": {"user_id": "u001", "amount": 1.0}}
            await broker.publish(message, stream=shop.name)
        async with shop.consumer():
            await shop.until(lambda: shop.answered() == ["1"])

    asyncio.run(story())
    with shop.client as client:
        ((_, fields),) = client.xrange(f"{shop.name}.out")
    assert orjson.loads(fields[DATA_FIELD.encode()])["id"] == "1"
