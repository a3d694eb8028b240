"""Materialization may be interrupted, repeated, run twice at once, and read from meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import timedelta
from itertools import pairwise
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from feast.protos.feast.core.Registry_pb2 import Registry

from integration.tiny import NOON, Tiny, materialize_in_process, read_in_process
from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.materialize import Watcher

pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning"),
]

USERS = 12_000


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Return a way to start processes that have imported Feast already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trivet.features.materialize", "duckdb", "ibis", "pandas"])
    return context


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Return a project with many users, known at ten and at eleven, and nothing online."""
    made = Tiny(tmp_path / "tiny", USERS)
    made.learn(USERS, NOON - timedelta(hours=1.5), NOON - timedelta(hours=1))
    made.apply()
    return made


@pytest.fixture
def small(tmp_path: Path) -> Tiny:
    """Return a project of three users, with nothing online."""
    made = Tiny(tmp_path / "tiny")
    made.apply()
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """Return what is online after a materialization that nobody interrupted."""
    made = Tiny(tmp_path_factory.mktemp("undisturbed") / "tiny", USERS)
    made.learn(USERS, NOON - timedelta(hours=1.5), NOON - timedelta(hours=1))
    made.apply()
    made.materialize()
    return made.online()


class Running:
    """A materialization in a process of its own."""

    def __init__(
        self, processes: ForkServerContext, tiny: Tiny, *, halt_at: int | None = None
    ) -> None:
        """Start it; one that halts stays at that many rows until `go_on` is set."""
        self._told, teller = processes.Pipe(duplex=False)
        self.go_on = processes.Event()
        arguments = (str(tiny.root), NOON, teller, self.go_on, halt_at)
        self.process = processes.Process(target=materialize_in_process, args=arguments)
        self.process.start()
        teller.close()

    def next(self) -> Any:
        """Return what it says next: rows written, `waiting`, or that it is done; None at its end."""
        try:
            return self._told.recv() if self._told.poll(60) else pytest.fail("it says nothing")
        except EOFError:
            return None

    def until(self, rows: int) -> None:
        """Wait until it has written that many rows."""
        while (said := self.next()) != rows:
            assert said is not None, "it ended before that"

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for its end."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        self.process.join(30)
        assert self.process.exitcode not in (None, 0)


def test_killed_at_any_moment_it_is_made_good_by_the_next_one(
    tiny: Tiny, processes: ForkServerContext, undisturbed: list[tuple[Any, ...]]
) -> None:
    """`kill -9` before the first row, between rows and after the last leaves no gap and no half.

    And what was cut off is not recorded as done.
    """
    for rows in (0, 1000, 7000, USERS):
        running = Running(processes, tiny, halt_at=rows)
        running.until(rows)
        running.end(signal.SIGKILL)
        assert tiny.materialized_until() is None
    tiny.materialize()
    assert tiny.online() == undisturbed
    assert tiny.materialized_until() == NOON


def test_interrupted_by_ctrl_c_it_is_made_good_too(
    tiny: Tiny, processes: ForkServerContext, undisturbed: list[tuple[Any, ...]]
) -> None:
    """The lock is free again, and the view not done."""
    running = Running(processes, tiny, halt_at=3000)
    running.until(3000)
    running.end(signal.SIGINT)
    assert tiny.materialized_until() is None
    tiny.materialize()
    assert tiny.online() == undisturbed


def test_two_at_once_take_turns(
    tiny: Tiny, processes: ForkServerContext, undisturbed: list[tuple[Any, ...]]
) -> None:
    """The second waits, says so, and finds nothing left to do."""
    first = Running(processes, tiny, halt_at=1000)
    first.until(1000)
    second = Running(processes, tiny)
    assert second.next() == "waiting"
    first.go_on.set()
    assert _result(first) == ("done", USERS)
    assert _result(second) == ("done", 0)
    assert tiny.online() == undisturbed


def test_whoever_dies_while_it_holds_the_lock_gives_it_up(
    tiny: Tiny, processes: ForkServerContext
) -> None:
    """The waiting one goes on by itself."""
    first = Running(processes, tiny, halt_at=1000)
    first.until(1000)
    second = Running(processes, tiny)
    assert second.next() == "waiting"
    first.end(signal.SIGKILL)
    assert _result(second) == ("done", USERS)


def test_a_reader_sees_no_error_and_no_long_wait_meanwhile(
    tiny: Tiny, processes: ForkServerContext
) -> None:
    """Another process reads on while each row is written anew: the old value, then the new one."""
    tiny.materialize(NOON - timedelta(hours=1.4))
    stop = processes.Event()
    told, teller = processes.Pipe(duplex=False)
    arguments = (str(tiny.root), tiny.contract(), stop, teller)
    reader = processes.Process(target=read_in_process, args=arguments)
    reader.start()
    assert told.recv() == "reading"
    (view,) = tiny.materialize()
    stop.set()
    said = told.recv()
    reader.join(30)
    assert not isinstance(said, str), said
    reads, slowest, ages = said
    assert view.rows == USERS
    assert reads > 50
    assert slowest < 1
    assert {0.0, 100.0} <= ages


def test_the_registry_is_never_seen_half_written(
    small: Tiny, processes: ForkServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feast itself empties the file first; here a reader finds the views at every moment."""
    replaced = Path.replace
    seen: list[int] = []

    def looking(self: Path, target: Path) -> Path:
        registry = Registry()
        registry.ParseFromString(small.registry_file.read_bytes())
        seen.append(len(registry.feature_views))
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", looking)
    before = small.registry_file.stat().st_ino
    small.materialize()
    assert seen
    assert set(seen) == {1}
    assert small.registry_file.stat().st_ino != before
    assert [file.name for file in small.registry_file.parent.glob(".*")] == []


def test_it_starts_where_the_last_one_ended(small: Tiny) -> None:
    """And brings nothing twice, unless it is told to."""
    (first,) = small.materialize()
    assert (first.rows, first.end) == (3, NOON)
    assert first.start == NOON - timedelta(hours=2)
    later = NOON + timedelta(minutes=5)
    (second,) = small.materialize(later)
    assert (second.start, second.end, second.rows) == (NOON, later, 0)
    (again,) = small.materialize(later, again=True)
    assert (again.start, again.rows) == (later - timedelta(hours=2), 3)


def test_it_goes_back_no_further_than_the_ttl(small: Tiny) -> None:
    """What is older would be absent at its first read."""
    small.materialize(NOON - timedelta(days=30))
    (view,) = small.materialize()
    assert view.start == NOON - timedelta(hours=2)


def test_a_watcher_is_told_views_and_rows(small: Tiny) -> None:
    """For a progress bar."""
    told: list[Any] = []

    class Telling(Watcher):
        def begins(self, view: str, number: int, of: int) -> None:
            told.append((view, number, of))

        def wrote(self, view: str, rows: int, of: int) -> None:
            told.append((rows, of))

    small.materialize(watcher=Telling())
    assert told[0] == ("users", 1, 1)
    assert told[1] == (0, 3)
    assert told[-1] == (3, 3)
    assert all(a <= b for (a, _), (b, _) in pairwise(told[1:]))


def test_an_unknown_view_is_refused_before_anything_is_done(small: Tiny) -> None:
    """With the ones that there are."""
    with pytest.raises(BadSetting, match="It has users"):
        small.materialize(views=["users", "cakes"])
    assert small.materialized_until() is None


def test_a_source_that_is_gone_is_said_and_not_recorded(small: Tiny) -> None:
    """The view's name stands in the sentence."""
    (small.root / "data" / "users.parquet").unlink()
    with pytest.raises(FeaturesUnavailable, match="users could not be materialized"):
        small.materialize()
    assert small.materialized_until() is None


def _result(running: Running) -> Any:
    said: Any = None
    while (told := running.next()) is not None:
        said = told
    running.process.join(30)
    assert running.process.exitcode == 0
    return said
