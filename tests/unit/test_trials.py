"""A canary answers its share on the champion's rows; whatever it does wrong, the champion answers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import orjson
import pytest

from trivet.canary.limits import broken
from trivet.canary.state import Canary, Limits, Shadow
from trivet.canary.tally import (
    Figures,
    Tallies,
    Verdict,
    quantile,
    read_tallies,
    write_verdict,
)
from trivet.columns import Columns
from trivet.contract import Contract, View
from trivet.live import Shelf
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output
from trivet.serving.dataplane import DataPlane
from trivet.serving.documents import Answer
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Entry
from trivet.serving.slot import Slot
from trivet.serving.trial_counts import TrialCounts
from trivet.serving.trial_metrics import TrialMetrics
from unit.fakes import (
    AGE,
    INCOME,
    NOON,
    SEGMENT,
    FakeReader,
    FakeRecorder,
    ask,
    live,
    settings,
    shop,
)

USERS = {
    f"u{number:03}": {"income": number, "age": 30.0, "segment": "gold"} for number in range(300)
}


class Times:
    """Predicts a multiple of the amount, after something else."""

    def __init__(self, factor: float, before: Callable[[], object] = lambda: None) -> None:
        """`before`: called at each prediction; may raise."""
        self._factor = factor
        self._before = before

    def predict(self, columns: Columns) -> Output:
        """Return the multiple."""
        self._before()
        return {"value": np.asarray(columns["amount"]) * self._factor}


def made(
    number: int,
    predictor: Times,
    *,
    contract: Contract | None = None,
    reader: FakeReader | None = None,
) -> Version:
    """Return a loaded version."""
    contract = contract or shop()
    pipeline = Pipeline(predictor, contract.output)
    return Version(number, contract, pipeline, reader or FakeReader(users=USERS))


class Worker:
    """A champion, version 1, and beside it version 2 as canary or shadow."""

    def __init__(self, folder: Path, champion: Version, other: Version, **states: Any) -> None:
        """`states`: of the live state."""
        have = {1: champion, 2: other}
        self.shelf = Shelf(folder, "shop")
        self.slot = slot = Slot(
            self.shelf, lambda entry, _: have[entry.version], on_swap=lambda _: None
        )
        self.metrics = create_autospec(TrialMetrics, instance=True)
        self.counts = TrialCounts(self.shelf.canary, lambda: slot.loaded.canary_here, self.metrics)
        self.shelf.write_live(live(1, 2, **states))
        slot.look()
        self.recorder = FakeRecorder()
        self.entries: list[Entry] = []
        self.plane = DataPlane(
            slot, settings(folder), lambda: NOON, self.recorder, self, self.counts
        )

    def record(self, entry: Entry) -> None:
        """Remember what is logged."""
        self.entries.append(entry)

    def ask(self, *users: str, **fields: Any) -> list[Answer]:
        """Ask for each user by a request of its own, all at once."""
        return self.ask_all(*([ask(user_id=user, **fields)] for user in users))

    def ask_all(self, *requests: list[dict[str, Any]], route: str = "champion") -> list[Answer]:
        """Send requests at once."""

        async def together() -> list[Answer]:
            return await asyncio.gather(
                *(
                    self.plane.predict(one, lambda s: s.champion(), f"r{number}", route)
                    for number, one in enumerate(requests)
                )
            )

        return asyncio.run(together())

    def figures(self, kind: str = "canary") -> Figures:
        """Return what the worker has counted."""
        self.counts.write()
        (tallies,) = read_tallies(self.shelf.canary)
        found: Figures = getattr(tallies, kind)
        return found

    @property
    def logged(self) -> list[tuple[str, int, str]]:
        """Request, version and route of what was logged."""
        return [
            (one.request_id, entry.version, one.route)
            for entry in self.entries
            for one in entry.requests
            if one.kept
        ]


def on(percent: float = 100, **limits: Any) -> Canary:
    """Return the state of a canary; patient, as the machine may be busy."""
    patient = Limits(**{"timeout_ms": 20_000, **limits})
    return Canary(version=2, percent=percent, salt="2", entry="run-9", limits=patient)


def test_a_canary_answers_its_share_and_is_named(tmp_path: Path) -> None:
    """The same entity at the same version, as often as it asks."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)), canary=on(30))
    first = worker.ask(*USERS)
    again = worker.ask(*reversed(USERS))
    versions = [one.document["model"]["version"] for one in first]
    assert 60 < versions.count(2) < 120
    assert versions == [one.document["model"]["version"] for one in reversed(again)]
    for one in first:
        assert one.document["predictions"] == [{"value": 20.0 * one.document["model"]["version"]}]
        assert one.version == one.document["model"]["version"]
        assert one.in_place_of is None
    assert {v: r for _, v, r in worker.logged} == {1: "champion", 2: "canary"}
    assert len(worker.logged) == 600
    assert worker.figures().requests == versions.count(2) * 2
    assert sum(worker.figures().champion_took.values()) == 600


def test_all_rows_of_a_request_go_where_its_first_one_does(tmp_path: Path) -> None:
    """An answer names one version."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)), canary=on(50))
    alone = {user: a.version for user, a in zip(USERS, worker.ask(*USERS), strict=True)}
    here = [user for user in USERS if alone[user] == 1][:2]
    there = [user for user in USERS if alone[user] == 2][:2]
    answers = worker.ask_all(
        [ask(user_id=user) for user in (here[0], *there)],
        [ask(user_id=user) for user in (there[0], *here)],
    )
    assert [one.version for one in answers] == [1, 2]
    assert [len(one.document["predictions"]) for one in answers] == [3, 3]


def test_only_the_champions_route_is_shared(tmp_path: Path) -> None:
    """Who asks for a version by name gets that one."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)), canary=on())
    (answer,) = worker.ask_all([ask(user_id="u001")], route="version/1")
    assert answer.version == 1


def test_the_canary_computes_on_the_rows_that_were_read_for_the_champion(tmp_path: Path) -> None:
    """So that only the model differs; nothing is read twice."""
    reader, other = FakeReader(users=USERS), FakeReader(users=USERS)
    worker = Worker(
        tmp_path, made(1, Times(1), reader=reader), made(2, Times(2), reader=other), canary=on()
    )
    assert [one.version for one in worker.ask("u001", "u002")] == [2, 2]
    assert len(reader.reads) == 1
    assert other.reads == []


def test_a_canary_that_needs_other_features_reads_them_itself(tmp_path: Path) -> None:
    """In the thread that reads."""
    view = View(name="users", join_keys=("user_id",), ttl_seconds=60)
    contract = shop(views=(view,), columns=tuple(c for c in shop().columns if c.name != "segment"))
    other = FakeReader(users=USERS, columns=(INCOME, AGE))
    worker = Worker(
        tmp_path,
        made(1, Times(1), reader=FakeReader(users=USERS, columns=(INCOME, AGE, SEGMENT))),
        made(2, Times(2), contract=contract, reader=other),
        canary=on(),
    )
    assert [one.version for one in worker.ask("u001")] == [2]
    assert other.reads == [["u001"]]


def fail() -> None:
    """Raise."""
    raise ValueError("no")


@pytest.mark.quiet
@pytest.mark.parametrize(
    ("canary", "kind"),
    [
        (lambda: made(2, Times(2, fail)), "raised"),
        (lambda: made(2, Times(float("inf"))), "not finite"),
        (lambda: made(2, Times(float("nan"))), "not finite"),
        (
            lambda: made(2, Times(2), contract=shop(columns=(INCOME, AGE, SEGMENT))),
            "refused",
        ),
        (lambda: made(2, Times(2, lambda: time.sleep(0.3))), "late"),
    ],
    ids=["raises", "infinite", "NaN", "refuses", "slow"],
)
def test_what_the_canary_fails_the_champion_answers(
    tmp_path: Path, canary: Callable[[], Version], kind: str
) -> None:
    """The caller gets the champion's answer, and is told; the log has it as the champion's."""
    worker = Worker(tmp_path, made(1, Times(1)), canary(), canary=on(timeout_ms=50))
    started = time.monotonic()
    (answer,) = worker.ask("u001")
    assert time.monotonic() - started < 0.25
    assert answer.document["predictions"] == [{"value": 20.0}]
    assert answer.document["model"]["version"] == answer.version == 1
    assert answer.in_place_of == f"2; {kind}"
    assert worker.logged == [("r0", 1, "champion")]
    assert worker.recorder.answers == [(1, 1)]
    assert worker.figures().errors == {kind: 1}


def test_a_request_that_only_the_champion_refuses_is_refused(tmp_path: Path) -> None:
    """What callers may send is the champion's to say."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)), canary=on())
    with pytest.raises(Exception, match="income is missing"):
        worker.ask("nobody")
    assert worker.recorder.refusals == [(1, 422)]


@pytest.mark.quiet
def test_a_canary_that_hangs_holds_up_nobody_twice(tmp_path: Path) -> None:
    """After its time limit, who comes is answered at once; the champion's own are never late."""
    free = threading.Event()
    slow = made(2, Times(2, lambda: free.wait(5)))
    worker = Worker(tmp_path, made(1, Times(1)), slow, canary=on(50, timeout_ms=300))

    async def story() -> list[float]:
        async def one(user: str) -> float:
            began = time.monotonic()
            answer = await worker.plane.predict(
                [ask(user_id=user)], lambda s: s.champion(), "r", "champion"
            )
            assert answer.version == 1
            return time.monotonic() - began

        await asyncio.gather(*(one(user) for user in list(USERS)[:20]))
        return await asyncio.gather(*(one(user) for user in list(USERS)[:60]))

    try:
        took = asyncio.run(asyncio.wait_for(story(), 20))
    finally:
        free.set()
    assert max(took) < 0.2


def test_a_verdict_of_the_host_ends_the_split(tmp_path: Path) -> None:
    """In a worker that counted nothing wrong itself; one about another canary does not."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)), canary=on())
    verdict = Verdict(
        entry="run-8", version=2, at=NOON, sentence="slow", figures=Figures(entry="run-8")
    )
    for entry, version in (("run-8", 2), ("run-9", 1)):
        write_verdict(worker.shelf.canary, verdict.model_copy(update={"entry": entry}))
        worker.counts.look()
        assert [one.version for one in worker.ask("u001")] == [version]


def test_its_share_is_shown_from_the_live_state_and_needs_no_request(tmp_path: Path) -> None:
    """A canary that ended while nobody asked does not look as if it still ran."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)), canary=on(30))
    shown = worker.metrics.percent
    worker.counts.look()
    shown.assert_called_with(30)
    worker.shelf.write_live(live(2, 1))
    worker.slot.look()
    worker.counts.look()
    shown.assert_called_with(0.0)
    worker.shelf.write_live(live(1, 2, canary=on(20)))
    worker.slot.look()
    worker.counts.look()
    shown.assert_called_with(20)
    verdict = Verdict(
        entry="run-9", version=2, at=NOON, sentence="slow", figures=Figures(entry="run-9")
    )
    write_verdict(worker.shelf.canary, verdict)
    worker.counts.look()
    shown.assert_called_with(0.0)


def test_a_worker_stops_by_itself_at_a_broken_limit(tmp_path: Path) -> None:
    """It says so to the follower, and needs none for it."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2, fail)), canary=on())
    worker.ask(*list(USERS)[:40])
    assert worker.figures().errors == {"raised": 40}
    (tallies,) = read_tallies(worker.shelf.canary)
    assert tallies.broken is not None
    assert "error rate 100.00%" in tallies.broken
    (answer,) = worker.ask("u001")
    assert answer.in_place_of is None
    assert worker.figures().requests == 40


def test_how_far_the_canary_is_from_the_champion_is_counted(tmp_path: Path) -> None:
    """In the unit of the regression; the tolerance says which rows are unlike."""
    worker = Worker(
        tmp_path, made(1, Times(1)), made(2, Times(1.25)), canary=on(tolerance=4, divergence=0.1)
    )
    worker.ask("u001", "u002", amount=8)
    worker.ask("u003", amount=40)
    figures = worker.figures()
    assert (figures.rows, figures.unlike, figures.difference) == (3, 1, 14.0)
    assert broken(Limits(divergence=0.1, min_requests=1, tolerance=4), figures) is None
    worker.ask(*USERS, amount=40)
    sentence = broken(Limits(divergence=0.1), worker.figures())
    assert sentence is not None
    assert "divergence 99.34%" in sentence


def test_a_shadow_answers_nothing_and_is_compared(tmp_path: Path) -> None:
    """Each request is the champion's, and so is each row of the log."""
    worker = Worker(
        tmp_path, made(1, Times(1)), made(2, Times(3)), shadow=Shadow(version=2, entry="run-7")
    )
    answers = worker.ask(*list(USERS)[:50])
    assert {one.version for one in answers} == {1}
    assert {(version, route) for _, version, route in worker.logged} == {(1, "champion")}
    end = time.monotonic() + 10
    while worker.counts._figures.get("shadow", Figures(entry="")).requests < 50:
        assert time.monotonic() < end
        time.sleep(0.01)
    worker.plane.stop()
    figures = worker.figures("shadow")
    assert (figures.rows, figures.unlike, figures.difference) == (50, 50, 50 * 40.0)
    assert (figures.errors, figures.dropped) == ({}, 0)
    assert quantile(figures.took, 0.5) is not None


def test_a_shadow_that_cannot_keep_up_is_left_behind(tmp_path: Path) -> None:
    """What its queue has no room for is dropped and counted; nobody waits for it."""
    free = threading.Event()
    worker = Worker(
        tmp_path,
        made(1, Times(1)),
        made(2, Times(3, lambda: free.wait(5))),
        shadow=Shadow(version=2, entry="run-7"),
    )
    started = time.monotonic()
    worker.ask("u001")
    time.sleep(0.05)
    worker.ask(*USERS)
    assert time.monotonic() - started < 2
    assert worker.figures("shadow").dropped == 300 - 256
    free.set()
    worker.plane.stop()


def test_a_worker_writes_nothing_while_nothing_runs(tmp_path: Path) -> None:
    """No file, and no thread for it."""
    worker = Worker(tmp_path, made(1, Times(1)), made(2, Times(2)))
    worker.ask("u001")
    worker.counts.write()
    assert not worker.shelf.canary.exists()
    assert Tallies() == Tallies.model_validate(json.loads(orjson.dumps({})))
