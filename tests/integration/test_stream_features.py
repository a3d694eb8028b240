"""Feature events over a real Redis, into a real Feast store that goes away and comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
import redis

from contract.servers import RedisServer
from integration.tiny import NOON, Tiny, pushed
from trivet.errors import InvalidInstances
from trivet.features.events import Events, to_frame
from trivet.features.folding import fold
from trivet.features.offline_file import offline_file
from trivet.features.push import Pusher
from trivet.features.reader import OnlineReader
from trivet.stream.address import parse_address
from trivet.stream.line import Reading
from trivet.stream.messages import DATA_FIELD, Names
from trivet.stream.running import StreamProcess

NAMES = Names(prefix="trivet", model="toy", project="tiny")
NOW = NOON - timedelta(minutes=1)
PRESENT = NOW.isoformat()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis for the streams."""
    with RedisServer(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis for the features."""
    with RedisServer(tmp_path_factory.mktemp("store"), keeps=True) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, broker: RedisServer, store: RedisServer) -> Tiny:
    """Return a project whose view has a push source, on stores that are empty."""
    made = Tiny(tmp_path / "tiny")
    yaml = made.root / "feature_repo" / "feature_store.yaml"
    text = yaml.read_text()
    before = "type: sqlite\n  path: ../data/online.db"
    assert before in text
    yaml.write_text(text.replace(before, f"type: redis\n  connection_string: {store.address}"))
    made.define(pushed())
    made.apply()
    for server in (broker, store):
        with redis.Redis(port=server.port) as client:
            client.flushall()
    return made


class Streaming:
    """`trivet stream --role features` of a project, in a thread."""

    def __init__(self, project: Tiny, broker: RedisServer, to: Any = "online") -> None:
        """Nothing is started yet."""
        self._project = project
        self._to = to
        self.client = redis.Redis(port=broker.port)
        self._url = f"redis://127.0.0.1:{broker.port}"

    def send(self, *rows: dict[str, Any], source: str = "users_push") -> None:
        """Send events."""
        for row in rows:
            event = {"id": str(row), "source": source, "row": row}
            self.client.xadd(NAMES.features, {DATA_FIELD: orjson.dumps(event)})

    def until_read(self, dead: int = 0, within: float = 30) -> Sequence[Any]:
        """Run until the stream is empty and there are so many dead letters; return those."""

        async def story() -> None:
            reading = Reading(
                group="g",
                consumer="c",
                batch=100,
                linger_seconds=0.01,
                idle_seconds=2.0,
                most_kept=1000,
                remember_seconds=60,
            )
            address = parse_address(self._url)
            process = StreamProcess(self._project.settings, address, reading, lambda: NOON)
            process.push(NAMES, self._to)
            running = asyncio.create_task(process.run())
            async with asyncio.timeout(within):
                await asyncio.to_thread(self._wait, dead)
            process.stopping.set()
            await running

        asyncio.run(story())
        self.client.close()
        return self._dead()

    def _wait(self, dead: int) -> None:
        while self.client.xlen(NAMES.features) or len(self._dead()) < dead:
            time.sleep(0.05)

    def _dead(self) -> list[Any]:
        found = self.client.xrange(NAMES.dead_features)
        return [orjson.loads(fields[DATA_FIELD.encode()]) for _, fields in found]


def row(user: str, age: float | None, at: Any = PRESENT, **more: Any) -> dict[str, Any]:
    """Return the row of an event."""
    return {"user_id": user, "age": age, "purchases": 3, "event_timestamp": at, **more}


def ages(project: Tiny, *users: str) -> list[float | None]:
    """Return what is online."""
    reader = OnlineReader(project.open(), project.contract())
    return reader.read({"user_id": list(users)}, NOON).values["age"]


def test_events_come_online(project: Tiny, broker: RedisServer) -> None:
    """By their own event timestamps, in any of their forms; an older one changes nothing."""
    streaming = Streaming(project, broker)
    naive = NOW.replace(tzinfo=None).isoformat()
    earlier = (NOW - timedelta(minutes=5)).isoformat()
    streaming.send(row("a", 1.0), row("b", 2, at=NOW.timestamp()), row("c", None, at=naive))
    streaming.send(row("a", 9.0, at=earlier))
    assert streaming.until_read() == []
    assert ages(project, "a", "b", "c", "d") == [1.0, 2.0, None, None]


def test_events_go_offline_too(project: Tiny, broker: RedisServer) -> None:
    """The older one as well: it is the history. Feast itself sees them once they are folded in."""
    streaming = Streaming(project, broker, to="online_and_offline")
    earlier = NOW - timedelta(minutes=5)
    streaming.send(row("a", 1.0, visits=1), row("a", 9.0, at=earlier.isoformat(), visits=1))
    assert streaming.until_read() == []
    entities = pd.DataFrame({"user_id": "a", "event_timestamp": [NOW, earlier]})
    store = project.open()
    file = offline_file(store, store.get_feature_view("users"))
    assert file is not None
    assert fold(file)
    found = store.get_historical_features(entities, ["users:age"]).to_df()
    assert sorted(found["age"]) == [1.0, 9.0]


def test_events_that_cannot_be_pushed_go_to_the_dead_letters(
    project: Tiny, broker: RedisServer
) -> None:
    """Each for its own fault, and those beside them are pushed."""
    streaming = Streaming(project, broker)
    late = (NOON + timedelta(hours=1)).isoformat()
    streaming.send(row("a", 1.0), row("b", 2.0, at=late), row("", 3.0, at="noon"))
    streaming.send({"user_id": "c", "age": 1.0, "event_timestamp": NOW.isoformat()})
    streaming.send(row("d", 4.0), row("e", 5.0, purchases="many"))
    streaming.send(row("f", 6.0), source="unknown")
    dead = streaming.until_read(dead=5)
    details = " ".join(letter["reason"]["detail"] for letter in dead)
    for part in (
        "is yet to come",
        "event_timestamp: a time is expected",
        "purchases is required",
        "purchases: a whole number is expected",
        "no feature view with the push source unknown",
    ):
        assert part in details
    assert ages(project, "a", "b", "c", "d", "e") == [1.0, None, None, 4.0, None]


@pytest.mark.parametrize("year", [1, 1600, 2500, 9999])
def test_an_event_of_a_moment_that_feast_cannot_hold_is_given_up(
    project: Tiny, broker: RedisServer, year: int
) -> None:
    """Alone, whatever a sender means by it; those beside it and behind it are pushed."""
    streaming = Streaming(project, broker)
    streaming.send(row("a", 1.0), row("b", 2.0, at=f"{year:04}-12-31T00:00:00Z"), row("c", 3.0))
    (letter,) = streaming.until_read(dead=1)
    assert letter["reason"]["detail"].startswith("An event timestamp for users is none: Out of")
    assert ages(project, "a", "b", "c") == [1.0, None, 3.0]


def test_while_the_feature_store_is_down_events_are_held(
    project: Tiny, broker: RedisServer, store: RedisServer
) -> None:
    """All of them are pushed once it is back; none is given up."""
    streaming = Streaming(project, broker)
    streaming.send(*[row(f"u{number}", float(number)) for number in range(300)])
    store.stop()
    back = threading.Timer(3.0, store.start)
    back.start()
    try:
        assert streaming.until_read() == []
    finally:
        back.join()
    users = [f"u{number}" for number in range(300)]
    assert ages(project, *users) == [float(number) for number in range(300)]


def test_a_row_is_read_as_the_sources_columns_say(project: Tiny) -> None:
    """Whole numbers are numbers, and the frame has a column's own type."""
    project.apply()
    events = Events(Pusher(project.open(), project.settings, "users_push"))
    read = events.read(row("a", 7, at=0, visits=5))
    assert read["age"] == 7.0
    assert read["event_timestamp"] == datetime.fromtimestamp(0, tz=NOON.tzinfo)
    assert read["visits"] == 5
    frame = to_frame([read, events.read(row("b", None, visits=1))])
    assert str(frame.dtypes["age"]) == "float64"
    for wrong in (row("a", True), row("a", 1.0, at=True), row("a", 1.0, at=1e300), row("a", "x")):
        with pytest.raises(InvalidInstances):
            events.read(wrong)
