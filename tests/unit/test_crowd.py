"""Requests that arrive together share reads and predictions, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.columns import Columns
from trivet.errors import FeaturesUnavailable, InvalidInstances, PredictionFailed
from trivet.features.values import Found
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output
from trivet.serving.crowd import Crowd
from trivet.serving.dataplane import DataPlane
from trivet.serving.documents import Answer
from trivet.serving.loaded import Version
from unit import fakes
from unit.fakes import NOON, FakeReader, FakeRecorder, ask, filled_slot, shop, version

USERS = {f"u{n:03}": {"income": n, "age": 30.0, "segment": "gold"} for n in range(40)}
BAD = -1.0


@dataclass
class Doubler:
    """Predicts twice the amount plus the income, and fails on a batch with a bad amount in it."""

    batches: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    waits: threading.Event | None = None

    def predict(self, columns: Columns) -> Output:
        """Predict n rows."""
        self.batches.append(len(columns["amount"]))
        self.threads.append(threading.get_ident())
        if self.waits is not None:
            self.waits.wait(10)
        if (columns["amount"] == BAD).any():
            raise ValueError("a bad amount")
        return {"value": np.asarray(2 * columns["amount"] + columns["income"])}


@dataclass
class Crowded:
    """A data plane of one version, and what its parts have seen."""

    plane: DataPlane
    reader: FakeReader
    model: Doubler
    recorder: FakeRecorder

    async def ask(self, *instances: dict[str, Any], request_id: str = "id") -> Answer:
        """Send one request."""
        return await self.plane.predict(list(instances), lambda slot: slot.champion(), request_id)

    def together(self, *requests: Sequence[dict[str, Any]]) -> list[Any]:
        """Send requests at the same moment; return each one's answer or error."""

        async def send() -> list[Any]:
            asked = (self.ask(*instances) for instances in requests)
            return await asyncio.gather(*asked, return_exceptions=True)

        return asyncio.run(send())


def crowded(folder: Path, *, quick: bool = True, **changes: Any) -> Crowded:
    """Return a data plane of users who are all cached, unless `cached` says otherwise."""
    cached = changes.pop("cached", set(USERS))
    reader = FakeReader(users=USERS, cached=cached, blocked=changes.pop("blocked", None))
    model = Doubler(waits=changes.pop("waits", None))
    contract = shop()
    one = Version(1, contract, Pipeline(model, contract.output), reader)
    one.quick_rows = changes.pop("quick_rows", 128 if quick else 0)
    recorder = FakeRecorder()
    plane = DataPlane(
        filled_slot(folder, one), fakes.settings(folder, **changes), lambda: NOON, recorder
    )
    return Crowded(plane=plane, reader=reader, model=model, recorder=recorder)


def values(answer: Any) -> list[float]:
    """Return what was predicted."""
    return [one["value"] for one in answer.document["predictions"]]


def test_what_arrives_together_is_predicted_together(tmp_path: Path) -> None:
    """In one call of the model, and counted as one batch."""
    crowd = crowded(tmp_path)
    answers = crowd.together(*([ask(user_id=f"u{n:03}", amount=float(n))] for n in range(10)))
    assert [values(answer) for answer in answers] == [[3.0 * n] for n in range(10)]
    assert crowd.model.batches == crowd.recorder.batches == [10]


def test_one_that_comes_alone_does_not_wait_for_others(tmp_path: Path) -> None:
    """It is answered before the next one is sent."""
    crowd = crowded(tmp_path)

    async def one_after_the_other() -> None:
        for _ in range(3):
            await asyncio.wait_for(crowd.ask(ask()), 1)

    asyncio.run(one_after_the_other())
    assert crowd.model.batches == [1, 1, 1]


def test_a_batch_has_no_more_rows_than_the_setting_says(tmp_path: Path) -> None:
    """A request is never split; one that is larger is a batch of its own."""
    crowd = crowded(tmp_path, batch_rows=5)
    sizes = [2, 2, 2, 7, 1, 4, 1]
    answers = crowd.together(*([ask(amount=float(n))] * n for n in sizes))
    assert [len(values(answer)) for answer in answers] == sizes
    assert sorted(crowd.model.batches) == sorted([4, 2, 7, 5, 1])


def test_what_is_in_the_cache_is_answered_without_a_read(tmp_path: Path) -> None:
    """Also while another request's read is under way."""
    blocked = threading.Event()
    crowd = crowded(tmp_path, cached={"u001"}, blocked=blocked)

    async def send() -> list[Answer]:
        cold = asyncio.create_task(crowd.ask(ask(user_id="u002")))
        await asyncio.sleep(0.01)
        hot = await asyncio.wait_for(crowd.ask(ask(user_id="u001")), 1)
        assert not cold.done()
        blocked.set()
        return [hot, await cold]

    assert [values(answer) for answer in asyncio.run(send())] == [[41.0], [42.0]]
    assert crowd.reader.reads == [["u002"]]


def test_what_needs_a_read_shares_it(tmp_path: Path) -> None:
    """One batched read for all that wait, however many requests they are."""
    crowd = crowded(tmp_path, cached=set())
    crowd.together(*([ask(user_id=f"u{n:03}")] for n in range(6)))
    assert crowd.reader.reads == [[f"u{n:03}" for n in range(6)]]


def test_an_entity_that_is_being_read_is_not_read_again(tmp_path: Path) -> None:
    """Whoever asks for it meanwhile waits for the read that is under way."""
    blocked = threading.Event()
    crowd = crowded(tmp_path, cached=set(), blocked=blocked)

    async def send() -> None:
        first = asyncio.create_task(crowd.ask(ask(user_id="u007")))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(crowd.ask(ask(user_id="u007")))
        await asyncio.sleep(0.01)
        crowd.reader.cached.add("u007")  # as the read does when it comes back
        blocked.set()
        await asyncio.gather(first, second)

    asyncio.run(send())
    assert crowd.reader.reads == [["u007"]]


def test_a_slow_model_gathers_what_comes_meanwhile(tmp_path: Path) -> None:
    """It runs in a thread, and the requests that wait for it are its next batch."""
    waits = threading.Event()
    crowd = crowded(tmp_path, quick=False, waits=waits)

    async def send() -> None:
        first = asyncio.create_task(crowd.ask(ask()))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(crowd.ask(ask())) for _ in range(5)]
        await asyncio.sleep(0.01)
        waits.set()
        await asyncio.gather(first, *others)

    asyncio.run(send())
    assert crowd.model.batches == [1, 5]


def test_a_batch_that_is_not_quick_enough_runs_in_a_thread(tmp_path: Path) -> None:
    """The event loop takes those alone that were found to be quick when the version was loaded."""
    crowd = crowded(tmp_path, quick_rows=4)
    crowd.together([ask()] * 4)
    crowd.together(*([ask()] for _ in range(5)))
    assert crowd.model.batches == [4, 5]
    here = threading.get_ident()
    assert [thread == here for thread in crowd.model.threads] == [True, False]


def test_a_slow_model_does_not_wait_for_a_store_that_hangs(tmp_path: Path) -> None:
    """They have a thread each."""
    blocked = threading.Event()
    crowd = crowded(tmp_path, quick=False, cached={"u001"}, blocked=blocked)

    async def send() -> Answer:
        cold = asyncio.create_task(crowd.ask(ask(user_id="u002")))
        await asyncio.sleep(0.01)
        try:
            return await asyncio.wait_for(crowd.ask(ask()), 1)
        finally:
            blocked.set()
            await cold

    assert values(asyncio.run(send())) == [41.0]


def test_features_that_came_in_time_are_not_given_up_for_a_slow_model(tmp_path: Path) -> None:
    """The limit is the feature store's."""
    waits = threading.Event()
    crowd = crowded(tmp_path, quick=False, cached=set(), waits=waits, feature_timeout_seconds=0.05)

    async def send() -> Answer:
        one = asyncio.create_task(crowd.ask(ask()))
        await asyncio.sleep(0.15)
        waits.set()
        return await one

    assert values(asyncio.run(send())) == [41.0]


def test_everybody_who_waits_for_a_store_that_hangs_is_let_go_in_time(tmp_path: Path) -> None:
    """Those whose read is under way and those whose read has not begun."""
    blocked = threading.Event()
    crowd = crowded(tmp_path, cached=set(), blocked=blocked, feature_timeout_seconds=0.1)

    async def send() -> list[Any]:
        first = asyncio.create_task(crowd.ask(ask(user_id="u001")))
        await asyncio.sleep(0.02)
        later = asyncio.create_task(crowd.ask(ask(user_id="u002")))
        done, pending = await asyncio.wait([first, later], timeout=1)
        blocked.set()
        assert not pending
        return [one.exception() for one in done]

    assert {type(error) for error in asyncio.run(send())} == {FeaturesUnavailable}
    assert crowd.recorder.refusals == [(1, 503), (1, 503)]


def test_reads_that_were_given_up_are_not_made_once_the_store_answers(tmp_path: Path) -> None:
    """Those of a canary or shadow, and of readiness: requests would wait behind them."""
    blocked = threading.Event()
    reader = FakeReader(users=USERS, blocked=blocked)
    one = version(reader=reader)
    crowd = Crowd(lambda: NOON, 0.05, 10, lambda *_: None)
    probed: list[datetime] = []

    def fetch(user: str) -> Found:
        return crowd.fetch_apart(one, {"user_id": [user]}, NOON)

    for user in ("u001", "u002", "u003"):
        with pytest.raises(FeaturesUnavailable):
            fetch(user)
    with pytest.raises(FeaturesUnavailable):
        asyncio.run(crowd.read_apart(probed.append))
    blocked.set()
    fetch("u004")
    assert reader.reads == [["u001"], ["u004"]]
    assert probed == []


def test_a_caller_who_is_gone_harms_nobody(tmp_path: Path) -> None:
    """The others of the batch are answered; the gone one counts as neither answered nor refused."""
    crowd = crowded(tmp_path, cached=set())

    async def send() -> list[Any]:
        tasks = [asyncio.create_task(crowd.ask(ask(user_id=f"u{n:03}"))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, gone, third = asyncio.run(send())
    assert isinstance(gone, asyncio.CancelledError)
    assert (values(first), values(third)) == ([40.0], [42.0])


REQUESTS = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 45),
            st.sampled_from([1.0, 2.5, BAD]),
            st.none() | st.integers(0, 9),
        ),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for all examples of the property."""
    return tmp_path_factory.mktemp("crowds")


@settings(max_examples=60, deadline=None)
@given(
    requests=REQUESTS,
    cached=st.sets(st.sampled_from(sorted(USERS))),
    most=st.integers(1, 6),
    quick=st.booleans(),
)
def test_each_gets_together_what_it_would_get_alone(
    folder: Path,
    requests: list[list[tuple[int, float, int | None]]],
    cached: set[str],
    most: int,
    quick: bool,
) -> None:
    """Known and unknown users, overrides, rows that the model cannot take: in any company."""
    sent = [
        [
            ask(user_id=f"u{user:03}", amount=amount, **({} if age is None else {"age": age}))
            for user, amount, age in rows
        ]
        for rows in requests
    ]
    crowd = crowded(folder, cached=set(cached), batch_rows=most, quick=quick)
    for rows, got in zip(requests, crowd.together(*sent), strict=True):
        unknown = [n for n, (user, _, _) in enumerate(rows) if user >= len(USERS)]
        if unknown:
            assert isinstance(got, InvalidInstances)
            assert [fault.row for fault in got.faults] == unknown
        elif any(amount == BAD for _, amount, _ in rows):
            assert isinstance(got, PredictionFailed)
        else:
            assert values(got) == [2 * amount + user for user, amount, _ in rows]
            assert got.document["missing"] == []
    assert crowd.recorder.answers.count((1, 0)) == 0
    assert len(crowd.recorder.answers) + len(crowd.recorder.refusals) == len(requests)
