"""Which answers Kafka's outlet publishes, and what it remembers of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trivet.stream.kafka import outlet as module
from trivet.stream.kafka.outlet import KafkaOutlet
from trivet.stream.line import Stream
from trivet.stream.taken import Settled, Taken
from unit.fakes import NOON

STREAM = Stream(name="requests", dead="requests.dead", out="predictions")


class Broker:
    """Keeps what is published."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.published: list[tuple[str, bytes | None]] = []
        self.refuses: list[bytes | None] = []
        """Keys, each refused once."""

    async def publish(self, message: object, *, topic: str, key: bytes | None) -> None:
        """Take a message."""
        del message
        if key in self.refuses:
            self.refuses.remove(key)
            raise ConnectionError(f"no room for {key!r}")
        self.published.append((topic, key))


def settled(name: str | None, outcome: str = "answered") -> Settled:
    """Return a message that is done with."""
    return Settled(taken=Taken(body=b"", at=NOON, place=0), id=name, outcome=outcome, out=b"{}")


def settle(outlet: Any, *done: Settled) -> int:
    """Settle messages together; return how many had been answered before."""
    return int(asyncio.run(outlet.settle(done)))


def test_an_id_is_answered_once_within_a_batch_and_after_it() -> None:
    """Who sent it twice gets one prediction, under its key."""
    broker = Broker()
    outlet = KafkaOutlet(broker, STREAM)  # type: ignore[arg-type]
    assert settle(outlet, settled("a"), settled("b"), settled("a")) == 1
    assert settle(outlet, settled("b"), settled("c")) == 1
    assert broker.published == [("predictions", name) for name in (b"a", b"b", b"c")]


def test_dead_letters_and_events_are_no_answers() -> None:
    """A message without an id is dead too; an event that was pushed is published nowhere."""
    broker = Broker()
    outlet = KafkaOutlet(broker, STREAM)  # type: ignore[arg-type]
    done = [settled(None, "dead"), settled("a", "dead"), settled("a"), settled("b", "pushed")]
    assert settle(outlet, *done) == 0
    assert set(broker.published) == {
        ("requests.dead", None),
        ("requests.dead", b"a"),
        ("predictions", b"a"),
    }


def test_what_is_published_while_something_else_fails_is_not_published_again() -> None:
    """By a second call with the same messages; nor does it count as somebody else's answer."""
    broker = Broker()
    outlet = KafkaOutlet(broker, STREAM)  # type: ignore[arg-type]
    done = [settled("a"), settled("b"), settled("a"), settled(None, "dead"), settled("d", "dead")]
    broker.refuses = [b"b", b"d"]
    with pytest.raises(ConnectionError, match="no room for b'b'"):
        settle(outlet, *done)
    assert settle(outlet, *done) == 1
    assert broker.published == [
        ("predictions", b"a"),
        ("requests.dead", None),
        ("predictions", b"b"),
        ("requests.dead", b"d"),
    ]


def test_the_oldest_ids_are_forgotten_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are said are remembered, also while there is room for more."""
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    outlet = KafkaOutlet(Broker(), STREAM)  # type: ignore[arg-type]
    for number in range(10):
        settle(outlet, settled(str(number)))
    assert settle(outlet, *[settled(str(number)) for number in range(10)]) == 10
    settle(outlet, settled("10"), settled("11"))
    assert settle(outlet, *[settled(str(number)) for number in range(2, 12)]) == 10
    assert settle(outlet, settled("0"), settled("1")) == 0
