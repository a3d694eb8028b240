"""Requests of a batch are answered as one crowd; what cannot be is held, or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from trivet.clock import Clock
from trivet.errors import FeaturesUnavailable
from trivet.serving.dataplane import DataPlane
from trivet.serving.loaded import Version
from trivet.serving.slot import Slot
from trivet.stream import predicting
from trivet.stream.messages import prediction
from trivet.stream.metrics import StreamMetrics
from trivet.stream.predicting import Predictions
from trivet.stream.replaying import ReplayClock
from trivet.stream.taken import Batch
from unit.fakes import (
    NOON,
    FakeReader,
    FakeRecorder,
    ask,
    filled_slot,
    live,
    settings,
    version,
)
from unit.stream.streams import FakeOutlet, batch, count, soon, taken


class Answering:
    """Predictions of the shop, asked by batches."""

    def __init__(
        self, folder: Path, *versions: Version, clock: Clock = lambda: NOON, **changes: Any
    ) -> None:
        """The first version is the champion."""
        self.slot: Slot = filled_slot(folder, *versions)
        self.recorder = FakeRecorder()
        self.outlet = FakeOutlet()
        self.dataplane = DataPlane(self.slot, settings(folder, **changes), clock, self.recorder)
        self.clock = clock
        self.stopping = asyncio.Event()

    async def handle(self, taken_together: Batch) -> None:
        """Handle a batch."""
        parts = (self.dataplane, self.outlet, StreamMetrics("requests"), self.stopping)
        await Predictions(*parts, 5, self.clock).handle(taken_together)

    def __call__(self, *messages: Any, **options: Any) -> FakeOutlet:
        """Handle messages as one batch, and return what came of them."""
        asyncio.run(self.handle(batch(*messages, **options)))
        return self.outlet


def requests(*amounts: float, **changes: Any) -> Sequence[dict[str, Any]]:
    """Return a request for each amount; its id is its number."""
    return [
        {"id": str(number), "instance": ask(amount=amount), **changes}
        for number, amount in enumerate(amounts)
    ]


def test_a_batch_is_answered_as_one_crowd(tmp_path: Path) -> None:
    """In its order, by one read and one prediction, and each request with its own answer."""
    answering = Answering(tmp_path, version(3))
    outlet = answering(*requests(1, 2, 3))
    assert outlet.outcomes == [("0", "answered"), ("1", "answered"), ("2", "answered")]
    assert [outlet.out(n)["prediction"] for n in range(3)] == [
        {"value": float(n)} for n in (1, 2, 3)
    ]
    assert outlet.out(0)["model"] == {"name": "shop", "version": 3}
    assert answering.recorder.batches == [3]


def test_an_answer_is_the_services(tmp_path: Path) -> None:
    """The same document for the same instance at the same moment, but for its frame."""
    answering = Answering(tmp_path, version(reader=FakeReader(users={"u001": {"income": 1}})))
    outlet = answering(*requests(7))
    served = asyncio.run(
        answering.dataplane.predict([ask(amount=7)], lambda slot: slot.champion(), "x")
    ).document
    told = outlet.out(0)
    assert [told["prediction"]] == served["predictions"]
    assert told["missing"] == served["missing"] != []
    assert told["model"] == served["model"]


def test_an_answer_says_when_it_was_asked(tmp_path: Path) -> None:
    """By the request, or else by the broker."""
    before = (NOON - timedelta(hours=1)).isoformat()
    (own,), (other,) = requests(1, asked_at=before), requests(2)
    outlet = Answering(tmp_path, version())(own, {**other, "id": "1"})
    assert outlet.out(0)["asked_at"] == before
    assert outlet.out(1)["asked_at"] == outlet.out(1)["answered_at"] == NOON.isoformat()


def test_one_that_cannot_be_answered_goes_to_the_dead_letters_alone(tmp_path: Path) -> None:
    """Those beside it are answered; its reason is the service's problem."""
    wrong = {"id": "wrong", "instance": ask(amount="much")}
    outlet = Answering(tmp_path, version())(b"\xff", wrong, *requests(1))
    assert outlet.outcomes == [(None, "dead"), ("wrong", "dead"), ("0", "answered")]
    letter = outlet.out(1)
    assert letter["message"] == wrong
    assert letter["reason"]["status"] == 422
    assert letter["reason"]["errors"][0]["field"] == "amount"
    assert "is not JSON" in outlet.out(0)["reason"]["detail"]


def test_a_version_that_fails_on_a_request_gives_it_up(tmp_path: Path) -> None:
    """It would fail again."""
    outlet = Answering(tmp_path, version(error=ValueError("no")))(*requests(1))
    assert outlet.outcomes == [("0", "dead")]
    assert outlet.out(0)["reason"]["detail"] == "predict failed: ValueError: no"


def test_an_answer_that_cannot_be_written_gives_its_request_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone: those beside it are answered."""

    def write(id: str, *others: Any) -> bytes:  # noqa: A002 - as it is called
        if id == "1":
            raise TypeError("no JSON")
        return prediction(id, *others)

    monkeypatch.setattr(predicting, "prediction", write)
    outlet = Answering(tmp_path, version())(*requests(1, 2))
    assert outlet.outcomes == [("0", "answered"), ("1", "dead")]
    assert outlet.out(1)["reason"]["detail"] == "It failed: TypeError: no JSON"


def test_what_nobody_came_to_the_end_of_is_given_up(tmp_path: Path) -> None:
    """After five deliveries, without being tried again."""
    (request,) = requests(1)
    answering = Answering(tmp_path, version())
    outlet = answering(taken(request, deliveries=5), taken({**request, "id": "1"}, deliveries=6))
    assert outlet.outcomes == [("0", "answered"), ("1", "dead")]
    assert "5 consumers in a row" in outlet.out(1)["reason"]["detail"]
    assert outlet.out(1)["deliveries"] == 6


def test_while_the_feature_store_is_down_requests_are_held(tmp_path: Path) -> None:
    """Those that need it; nothing of them is acknowledged, and then all of it."""
    reader = FakeReader(cached={"cached"}, users={"cached": {"income": 1}, "u001": {"income": 2}})
    reader.error = FeaturesUnavailable("down")
    answering = Answering(tmp_path, version(reader=reader))
    first = {"id": "c", "instance": ask(user_id="cached")}
    finished = []

    async def story() -> None:
        async def finish() -> None:
            finished.append(True)

        handling = asyncio.create_task(answering.handle(batch(first, *requests(1), finish=finish)))
        await asyncio.sleep(0.25)
        assert answering.outlet.outcomes == [("c", "answered")]
        assert not finished
        reader.error = None
        await handling

    asyncio.run(story())
    assert answering.outlet.outcomes == [("c", "answered"), ("0", "answered")]
    assert finished == [True]


def test_until_a_version_is_live_requests_are_held(tmp_path: Path) -> None:
    """They are answered by it once it is."""
    answering = Answering(tmp_path)
    late = version()

    async def story() -> None:
        handling = asyncio.create_task(answering.handle(batch(*requests(1))))
        await asyncio.sleep(0.15)
        assert not answering.outlet.settled
        answering.slot._load = lambda entry, _: late
        answering.slot._shelf.write_live(live(1))
        answering.slot.look()
        await handling

    asyncio.run(story())
    assert answering.outlet.outcomes == [("0", "answered")]


def test_what_a_busy_worker_refuses_is_held_and_asked_again(tmp_path: Path) -> None:
    """A caller of the service would do so; it is no fault of the message."""
    outlet = Answering(tmp_path, version(), most_in_flight=2)(*requests(1, 2, 3))
    assert sorted(outlet.outcomes) == [("0", "answered"), ("1", "answered"), ("2", "answered")]


def test_a_stop_leaves_what_is_held_to_others(tmp_path: Path) -> None:
    """At once, and without a word to the broker."""
    reader = FakeReader(error=FeaturesUnavailable("down"))
    answering = Answering(tmp_path, version(reader=reader))
    finished = []

    async def story() -> None:
        async def finish() -> None:
            finished.append(True)

        await asyncio.gather(
            answering.handle(batch(*requests(1), finish=finish)), soon(answering.stopping)
        )

    asyncio.run(asyncio.wait_for(story(), 2))
    assert not answering.outlet.settled
    assert not finished


@pytest.mark.parametrize("stop", [False, True])
def test_while_the_broker_is_away_answers_are_kept(tmp_path: Path, stop: bool) -> None:
    """They are published when it is back; a stop does not wait for that."""
    answering = Answering(tmp_path, version())
    answering.outlet.refusals = 2

    async def story() -> None:
        if stop:
            answering.stopping.set()
        await answering.handle(batch(*requests(1, 2)))

    asyncio.run(story())
    assert len(answering.outlet.settled) == (0 if stop else 2)
    assert answering.recorder.batches == [2]


def test_while_the_broker_is_away_the_stream_is_said_to_be_held(tmp_path: Path) -> None:
    """As it is while a store is down; not any longer once the answers are out."""
    answering = Answering(tmp_path, version())
    answering.outlet.refusals = 2
    held = lambda: count("trivet_stream_retrying", "requests")  # noqa: E731

    async def story() -> None:
        handling = asyncio.create_task(answering.handle(batch(*requests(1))))
        while not held():
            await asyncio.sleep(0)
            assert not answering.outlet.settled
        await handling

    asyncio.run(asyncio.wait_for(story(), 10))
    assert held() == 0


def test_a_replay_predicts_as_of_the_moments_that_were_asked(tmp_path: Path) -> None:
    """The clock of features and answers is the latest of them."""
    reader = FakeReader()
    clock = ReplayClock()
    answering = Answering(tmp_path, version(reader=reader), clock=clock)
    before = NOON - timedelta(days=300)
    outlet = answering(*requests(1, asked_at=before.isoformat()))
    assert reader.asked_at == [before]
    assert orjson.loads(outlet.settled[0].out or b"")["answered_at"] == before.isoformat()
    clock.advance(before - timedelta(hours=1))
    assert clock() == before
