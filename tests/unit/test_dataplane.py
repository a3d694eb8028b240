"""From a body to an answer, with every failure named and counted."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from trivet.errors import (
    FeaturesUnavailable,
    InvalidInstances,
    MalformedRequest,
    NoChampion,
    Overloaded,
    PredictionFailed,
    RequestTooLarge,
    TrivetError,
)
from trivet.serving import dataplane
from trivet.serving.dataplane import DataPlane
from trivet.serving.documents import Answer, to_bytes
from trivet.serving.loaded import Version
from unit.fakes import (
    NOON,
    FakeReader,
    FakeRecorder,
    ask,
    filled_slot,
    golden,
    settings,
    shop,
    version,
)


class Plane:
    """A data plane with a recorder, asked from outside of any event loop."""

    def __init__(self, folder: Path, *versions: Version, **changes: Any) -> None:
        """The first version is the champion."""
        self.recorder = FakeRecorder()
        slot = filled_slot(folder, *versions)
        self.dataplane = DataPlane(slot, settings(folder, **changes), lambda: NOON, self.recorder)

    def ask(self, *instances: Any, body: bytes | None = None) -> Answer:
        """Ask the champion, by a body or by these instances."""
        sent = orjson.dumps({"instances": instances}) if body is None else body
        return asyncio.run(self.dataplane.predict_bytes(sent, lambda s: s.champion(), "id-1"))

    def ready(self) -> None:
        """Ask whether it is ready."""
        asyncio.run(self.dataplane.ready())


def test_an_answer_says_who_answered_and_what_was_missing(tmp_path: Path) -> None:
    """Predictions stand in the order of the instances."""
    plane = Plane(tmp_path, version(3, reader=FakeReader(users={"u001": {"income": 1}})))
    answer = plane.ask(ask(amount=2), ask(amount=1, age=7))
    null = {"why": "null", "age_seconds": 0.0}
    assert orjson.loads(to_bytes(answer)) == {
        "predictions": [{"value": 2.0}, {"value": 1.0}],
        "model": {"name": "shop", "version": 3},
        "request_id": "id-1",
        "missing": [
            {"row": 0, "column": "age", **null},
            {"row": 0, "column": "segment", **null, "default": "none"},
            {"row": 1, "column": "segment", **null, "default": "none"},
        ],
    }
    assert plane.recorder.answers == [(3, 2)]


def test_an_expired_value_is_listed_with_its_age(tmp_path: Path) -> None:
    """To the millisecond."""
    reader = FakeReader(users={"u001": {"income": 1, "segment": "a"}}, expired_for=7200.00049)
    answer = Plane(tmp_path, version(reader=reader)).ask(ask())
    assert answer.document["missing"] == [
        {"row": 0, "column": "age", "why": "expired", "age_seconds": 7200.0}
    ]


def test_every_step_is_timed_in_order(tmp_path: Path) -> None:
    """The header and the metrics are made of it."""
    answer = Plane(tmp_path, version()).ask(ask())
    assert list(answer.seconds) == ["validate", "features", "preprocess", "predict", "postprocess"]
    assert all(seconds >= 0 for seconds in answer.seconds.values())


def test_features_are_read_as_of_the_clock(tmp_path: Path) -> None:
    """The one clock, so that a replay sees what was valid then."""
    reader = FakeReader()
    Plane(tmp_path, version(reader=reader)).ask(ask())
    assert reader.asked_at == [NOON]


def test_instances_that_are_parsed_already_are_taken(tmp_path: Path) -> None:
    """BentoML's own route hands them in."""
    plane = Plane(tmp_path, version(), max_rows=1)
    ask_champion = plane.dataplane.predict
    answer = asyncio.run(ask_champion([ask()], lambda slot: slot.champion(), "id"))
    assert answer.document["predictions"] == [{"value": 20.0}]
    with pytest.raises(RequestTooLarge):
        asyncio.run(ask_champion([ask(), ask()], lambda slot: slot.champion(), "id"))


@pytest.mark.parametrize(
    ("made", "instance", "expected", "counted"),
    [
        ({}, 3, InvalidInstances, (1, 422)),
        ({}, ask(user_id="u404"), InvalidInstances, (1, 422)),
        ({"error": ValueError("bad")}, ask(), PredictionFailed, (1, 500)),
        (
            {"reader": FakeReader(error=FeaturesUnavailable("x"))},
            ask(),
            FeaturesUnavailable,
            (1, 503),
        ),
        ({"reader": FakeReader(error=KeyError("x"))}, ask(), KeyError, (1, 500)),
    ],
    ids=["wrong row", "unknown user", "broken model", "store down", "unexpected"],
)
def test_a_refused_request_is_counted_with_its_version(
    tmp_path: Path,
    made: dict[str, Any],
    instance: Any,
    expected: type[Exception],
    counted: tuple[int, int],
) -> None:
    """Under the status that the caller sees."""
    plane = Plane(tmp_path, version(**made))
    with pytest.raises(expected):
        plane.ask(instance)
    assert plane.recorder.refusals == [counted]
    assert plane.recorder.answers == []


def test_a_malformed_body_is_counted(tmp_path: Path) -> None:
    """The version is known, since it was chosen first."""
    plane = Plane(tmp_path, version())
    with pytest.raises(MalformedRequest):
        plane.ask(body=b"{")
    assert plane.recorder.refusals == [(1, 400)]


def test_without_a_champion_a_request_is_counted_without_a_version(tmp_path: Path) -> None:
    """There is none to blame."""
    plane = Plane(tmp_path)
    with pytest.raises(NoChampion):
        plane.ask(ask())
    assert plane.recorder.refusals == [(None, 503)]


def test_a_store_that_hangs_is_given_up_within_the_limit(tmp_path: Path) -> None:
    """And the next request is answered once the store is back."""
    blocked = threading.Event()
    reader = FakeReader(blocked=blocked)
    plane = Plane(tmp_path, version(reader=reader), feature_timeout_seconds=0.05)
    started = time.perf_counter()
    with pytest.raises(FeaturesUnavailable, match=r"did not answer within 0\.05 s"):
        asyncio.run(_ask_and_release(plane, blocked))
    assert time.perf_counter() - started < 1
    assert plane.recorder.refusals == [(1, 503)]
    assert plane.ask(ask()).version == 1


async def _ask_and_release(plane: Plane, blocked: threading.Event) -> None:
    """Ask, and let the store go on afterwards: an event loop waits for its threads at its end."""
    try:
        await plane.dataplane.predict([ask()], lambda slot: slot.champion(), "id")
    finally:
        blocked.set()


def test_requests_count_as_under_way_until_they_are_answered_or_refused(tmp_path: Path) -> None:
    """Whoever scales the service looks at that."""
    blocked = threading.Event()
    plane = Plane(tmp_path, version(reader=FakeReader(blocked=blocked)))
    assert asyncio.run(_under_way(plane, blocked)) == 2
    assert plane.dataplane.in_flight == 0
    with pytest.raises(MalformedRequest):
        plane.ask(body=b"{")
    assert plane.dataplane.in_flight == 0


async def _under_way(plane: Plane, blocked: threading.Event) -> int:
    """Ask twice at once, and return how many are under way before the store answers."""
    asked = [
        asyncio.ensure_future(plane.dataplane.predict([ask()], lambda slot: slot.champion(), "id"))
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    counted = plane.dataplane.in_flight
    blocked.set()
    await asyncio.gather(*asked)
    return counted


def test_it_is_ready_when_a_version_is_loaded_and_the_store_answers(tmp_path: Path) -> None:
    """A golden row's features are read for it."""
    reader = FakeReader()
    Plane(tmp_path, version(reader=reader, contract=shop(golden=(golden(),)))).ready()
    assert reader.asked_at == [NOON]


@pytest.mark.parametrize("down", ["model", "store"])
def test_it_is_not_ready_while_something_is_down(tmp_path: Path, down: str) -> None:
    """The error says what."""
    broken = FakeReader(error=FeaturesUnavailable("gone"))
    loaded = [] if down == "model" else [version(reader=broken, contract=shop(golden=(golden(),)))]
    with pytest.raises(TrivetError) as caught:
        Plane(tmp_path, *loaded).ready()
    assert isinstance(caught.value, NoChampion if down == "model" else FeaturesUnavailable)


def test_with_as_many_unanswered_as_may_be_a_request_is_not_begun(tmp_path: Path) -> None:
    """It is counted, and the next one is taken as soon as one of the others has its answer."""
    blocked = threading.Event()
    reader = FakeReader(blocked=blocked)
    plane = Plane(tmp_path, version(reader=reader), most_in_flight=2)

    async def three_at_once() -> list[Any]:
        asked = [
            asyncio.create_task(plane.dataplane.predict([ask()], lambda s: s.champion(), f"id-{n}"))
            for n in range(3)
        ]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        refused = [task.done() for task in asked]
        blocked.set()
        return [refused, *await asyncio.gather(*asked, return_exceptions=True)]

    done, first, second, third = asyncio.run(three_at_once())
    assert done == [False, False, True]
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert isinstance(third, Overloaded)
    assert "2 requests to answer already" in str(third)
    assert (plane.recorder.not_begun, plane.dataplane.asked) == (1, 3)
    assert plane.ask(ask()).version == 1


def test_a_request_that_failed_or_was_given_up_makes_room(tmp_path: Path) -> None:
    """Else a worker would fill up with what is over."""
    plane = Plane(tmp_path, version(), most_in_flight=1)

    async def given_up() -> None:
        await asyncio.wait_for(
            plane.dataplane.predict([ask()], lambda s: s.champion(), "id"), timeout=0
        )

    for _ in range(2):
        with pytest.raises(MalformedRequest):
            plane.ask(body=b"{")
        with pytest.raises(TimeoutError):
            asyncio.run(given_up())
    assert plane.ask(ask()).version == 1
    assert plane.recorder.not_begun == 0


def test_an_answer_that_cannot_be_laid_out_is_an_error_and_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for it would wait for ever, and count as under way."""

    def fail(*_: object) -> None:
        raise RuntimeError("no document")

    plane = Plane(tmp_path, version())
    monkeypatch.setattr(dataplane, "documents", fail)
    with pytest.raises(RuntimeError, match="no document"):
        plane.ask(ask(amount=2))
    assert plane.dataplane.in_flight == 0
    assert plane.recorder.refusals == [(1, 500)]
