"""`trivet stream` over processes: it follows promotions, ends gracefully, and survives kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from contract.servers import RedisServer
from journey import Service
from streaming import Consumer, Requests, kill_under_load
from waiting import wait_for

from .toy import AS_GOOD, GOOD, MODEL, Toy, toy_project

RATE = 300.0


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """Make the project: five versions, the first is the champion."""
    with toy_project(tmp_path_factory.mktemp("stream") / "toy") as toy:
        yield toy


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a Redis of its own."""
    with RedisServer(tmp_path) as running:
        yield running


def instance(number: int) -> dict[str, Any]:
    """Return the n-th request's."""
    return {"user": number, "x": (number % 100 - 50) / 10}


def load_on(broker: RedisServer, rate: float = RATE) -> Requests:
    """Return a load that has not begun."""
    return Requests(broker=broker, model=MODEL, rate=rate, make=instance)


def test_a_promotion_is_followed_and_every_request_answered(toy: Toy, broker: RedisServer) -> None:
    """Under load, without a restart, in one stretch by each version."""
    load = load_on(broker)
    with Consumer(toy.project, broker, MODEL, "one") as consumer:
        with load:
            wait_for(lambda: load.answered() > 100, 30, consumer.tail)
            toy.project.run("trivet", "promote", MODEL, str(AS_GOOD), "--force", "--reason", "test")
            try:
                wait_for(
                    lambda: load.predictions()[-1]["model"]["version"] == AS_GOOD, 30, consumer.tail
                )
            finally:
                toy.project.run("trivet", "rollback", MODEL)
        load.all_answered_once()
        counted = consumer.metric("trivet_stream_messages_total", outcome="answered")
        assert counted == load.sent
        assert consumer.metric("trivet_stream_age_seconds_count") == load.sent
        wait_for(lambda: consumer.metric("trivet_stream_lag_messages") == 0, 10, consumer.tail)
        assert consumer.stop() == 0
    versions = [one["model"]["version"] for one in load.predictions()]
    assert versions[0] == GOOD
    assert AS_GOOD in versions


def test_stream_and_service_answer_alike(toy: Toy, broker: RedisServer) -> None:
    """Beside each other, with one follower; the log says by which way each came."""
    load = load_on(broker)
    with Service(toy.project, MODEL) as service, Consumer(toy.project, broker, MODEL, "one"):
        with load:
            wait_for(lambda: load.sent >= 200, 30, service.tail)
        load.all_answered_once()
        body = {"instances": [instance(number) for number in range(load.sent)][:1000]}
        served = service.post("/predict", body).json()
    streamed = {int(one["id"]): one for one in load.predictions()}
    for number, prediction in enumerate(served["predictions"]):
        assert streamed[number]["prediction"] == prediction
        assert streamed[number]["model"] == served["model"]
    logged = toy.project.json("trivet", "log", MODEL, "--limit", "100000", "--json")
    assert "stream" in str(logged)


def test_a_graceful_stop_leaves_nothing_behind(toy: Toy, broker: RedisServer) -> None:
    """Everything that was taken is answered; nothing is pending, and no consumer is on the list."""
    load = load_on(broker, rate=1000.0)
    with Consumer(toy.project, broker, MODEL, "one") as consumer, load:
        wait_for(lambda: load.answered() > 300, 30, consumer.tail)
        assert consumer.stop() == 0
        with redis.Redis(port=broker.port) as client:
            assert client.xpending(f"trivet.{MODEL}.requests", "trivet")["pending"] == 0
            assert client.xinfo_consumers(f"trivet.{MODEL}.requests", "trivet") == []
        assert "leaked" not in consumer.tail()
    assert load.answered() < load.sent
    with Consumer(toy.project, broker, MODEL, "two"):
        load.all_answered_once()


def test_its_page_says_when_the_broker_is_away(toy: Toy, broker: RedisServer) -> None:
    """503 with the reason; 200 again when it is back."""
    with Consumer(toy.project, broker, MODEL, "one") as consumer:
        broker.stop()
        wait_for(lambda: not consumer.is_well(), 20, consumer.tail)
        said = httpx.get(f"http://127.0.0.1:{consumer.port}/health").json()
        assert said["ok"] is False
        assert "Error" in said["why"]
        broker.start()
        wait_for(consumer.is_well, 20, consumer.tail)


@pytest.mark.timeout(300)
def test_consumers_that_are_killed_lose_nothing(toy: Toy, broker: RedisServer) -> None:
    """Two of them under load; ten in `make prove`."""
    kill_under_load(toy.project, load_on(broker), kills=2, pause=1.0)
