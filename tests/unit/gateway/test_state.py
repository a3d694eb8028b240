"""What a supervisor says of itself, what it is asked, and processes that are told apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trivet.gateway.fleet import Spec
from trivet.gateway.launch import bound
from trivet.gateway.leftovers import sweep
from trivet.gateway.processes import (
    Group,
    below,
    birth,
    end_group,
    free_port,
    gone,
    lives,
    port_taken,
)
from trivet.gateway.requests import Ask, Inbox, Reply, Wish
from trivet.gateway.state import (
    Condition,
    Home,
    ModelState,
    ReplicaState,
    State,
    read_state,
)
from trivet.settings import Settings, settings_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of an empty project."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    return settings_at(tmp_path)


def state(pid: int, born: int | None, *, replica: Group | None = None, **changes: object) -> State:
    """Return a supervisor's state, with one replica at most."""
    there = ReplicaState(
        name="r1",
        state="off" if replica is None else "ready",
        since=NOW,
        pid=None if replica is None else replica.pid,
        born=None if replica is None else replica.born,
        log=Path("r1.log"),
    )
    model = ModelState(
        name="shop", balance="random", workers=1, wanted=replica is not None, replicas=(there,)
    )
    return State(
        supervisor_pid=pid,
        supervisor_born=born or 0,
        host="127.0.0.1",
        port=free_port(),
        stats_port=free_port(),
        since=NOW,
        written=NOW,
        models=(model,),
    ).model_copy(update=changes)


def until_it_has_started(leader: Group) -> dict[int, int]:
    """Wait until a leader has started something, and return what: birth by id."""
    deadline = time.monotonic() + 10
    while not (started := below(leader.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return started


def group(folder: Path) -> Group:
    """Start a process that sleeps."""
    return Group(SLEEP, folder, folder / "sleep.log", os.environ)


def test_a_state_is_read_as_it_was_written(settings: Settings) -> None:
    """By any command, while its supervisor runs."""
    written = state(os.getpid(), birth(os.getpid()))
    Home(settings).write_state(written)
    assert read_state(settings) == written
    assert written.settled


def test_a_state_of_before_it_named_certificate_and_rate_is_read(settings: Settings) -> None:
    """A gateway runs on while Trivet is renewed."""
    written = state(os.getpid(), birth(os.getpid()), tls=True)
    Home(settings).write_state(written)
    older = written.model_dump(mode="json", exclude={"tls_file", "rate"})
    Home(settings).state_file.write_text(json.dumps(older))
    assert read_state(settings) == written


@pytest.mark.parametrize(
    ("states", "seconds", "stuck"),
    [
        (("ready", "starting"), 59, None),
        (("ready", "starting"), 60, "r2"),
        (("not ready", "off"), 60, "r1"),
        (("ready", "failed"), 0, "r2"),
        (("waiting", "failed"), 600, None),
        (("failed", "failed"), 600, None),
        (("ready", "ready"), 600, None),
    ],
)
def test_one_that_will_not_be_ready_by_itself_is_named(
    states: tuple[Condition, ...], seconds: float, stuck: str | None
) -> None:
    """Whoever waits for all to be ready waits no more; where all have failed the supervisor ends."""
    replicas = tuple(
        ReplicaState(name=f"r{n}", state=one, since=NOW, log=Path(f"r{n}.log"))
        for n, one in enumerate(states, 1)
    )
    shop = ModelState(name="shop", balance="random", workers=1, wanted=2, replicas=replicas)
    later = NOW + timedelta(seconds=seconds)
    found = state(1, 1, models=(shop,), written=later).stuck(60)
    assert (None if found is None else found[1].name) == stuck


def test_without_a_supervisor_nothing_runs(settings: Settings) -> None:
    """No file, one that is none, or one whose process has another birth."""
    assert read_state(settings) is None
    Home(settings).write_state(state(os.getpid(), 1))
    assert read_state(settings) is None
    Home(settings).state_file.write_text("{")
    assert read_state(settings) is None


def test_a_process_is_known_by_its_id_and_its_birth(tmp_path: Path) -> None:
    """One that has ended is gone, also while nobody has taken note of it."""
    started = group(tmp_path)
    assert lives(started.pid, started.born)
    assert not lives(started.pid, (started.born or 0) + 1)
    started.send(signal.SIGKILL)
    assert gone(started.pid, started.born or 0, within=5)
    assert started.ended() == -signal.SIGKILL


def test_a_log_of_an_earlier_process_is_kept(tmp_path: Path) -> None:
    """Of the one before; it says why that one died."""
    for number in (1, 2):
        one = Group(
            [sys.executable, "-c", f"print({number})"], tmp_path, tmp_path / "r1.log", os.environ
        )
        assert gone(one.pid, one.born or 0, within=10)
        one.ended()
    assert (tmp_path / "r1.log").read_text() == "2\n"
    assert (tmp_path / "r1.before.log").read_text() == "1\n"


def test_what_is_bound_ends_with_its_parent(tmp_path: Path) -> None:
    """Though that is killed, and though it is stopped itself."""
    script = (
        "import subprocess, sys; from trivet.gateway.launch import bound;"
        "child = subprocess.Popen(bound(sys.argv[1:]), start_new_session=True);"
        "print(child.pid, flush=True); child.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *SLEEP], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    born = birth(child)
    assert born is not None
    until_it_sleeps(child)
    os.kill(child, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(child, born, within=5)


def test_what_a_leader_has_started_ends_with_it(tmp_path: Path) -> None:
    """Also in a group of its own, as BentoML's workers and the follower are."""
    script = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True).wait()"
    leader = Group([sys.executable, "-c", script, *SLEEP], tmp_path, tmp_path / "x.log", os.environ)
    started = until_it_has_started(leader)
    leader._look_below()
    os.kill(leader.pid, signal.SIGKILL)
    assert gone(leader.pid, leader.born or 0, within=5)
    leader._look_from = 0.0
    assert leader.ended() == -signal.SIGKILL
    assert all(gone(pid, born, within=5) for pid, born in started.items())


def test_a_worker_that_has_died_is_missed_before_its_parent_looks(tmp_path: Path) -> None:
    """Its id is a zombie's until then."""
    script = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(60)"
    leader = Group([sys.executable, "-c", script, *SLEEP], tmp_path, tmp_path / "x.log", os.environ)
    started = until_it_has_started(leader)
    leader._look_below()
    had_it = leader.renewed
    assert had_it
    leader._look_below()
    assert leader.renewed == had_it
    (worker,) = started
    os.kill(worker, signal.SIGKILL)
    assert gone(worker, started[worker], within=5)
    leader._look_below()
    assert leader.renewed > had_it
    leader.send(signal.SIGKILL)
    assert gone(leader.pid, leader.born or 0, within=5)
    leader.ended()


def test_what_is_started_for_a_parent_that_is_gone_does_not_run(tmp_path: Path) -> None:
    """It would be bound to whoever took it over."""
    command = list(bound([sys.executable, "-c", "open('ran', 'w')"]))
    command[4] = "1"
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 1
    assert not (tmp_path / "ran").exists()


def test_what_a_dead_supervisor_left_is_ended(settings: Settings, tmp_path: Path) -> None:
    """And its files are removed."""
    replica = group(tmp_path)
    home = Home(settings)
    home.write_state(state(2**22 + 1, 1, replica=replica))
    (home.drain / "shop-r1").parent.mkdir(parents=True)
    (home.drain / "shop-r1").touch()
    assert sweep(home) == 1
    assert replica.ended() == -signal.SIGTERM
    assert not home.state_file.exists()
    assert not home.drain.exists()
    assert sweep(home) == 0


def test_somebody_elses_process_is_never_ended(settings: Settings, tmp_path: Path) -> None:
    """An id that was written down may have been given out anew."""
    stranger = group(tmp_path)
    stranger_as_ours = state(2**22 + 1, 1, replica=stranger)
    (model,) = stranger_as_ours.models
    older = model.replicas[0].model_copy(update={"born": (stranger.born or 0) - 1})
    model = model.model_copy(update={"replicas": (older,)})
    Home(settings).write_state(stranger_as_ours.model_copy(update={"models": (model,)}))
    assert sweep(Home(settings)) == 0
    assert stranger.ended() is None
    assert end_group(stranger.pid, stranger.born or 0, within=5)
    assert stranger.ended() is not None


def test_requests_come_in_their_order_and_once(tmp_path: Path) -> None:
    """What is no request is dropped."""
    inbox = Inbox(tmp_path / "requests")
    assert inbox.take() == ()
    first, second = (Ask(wishes=(Wish(model=name),)) for name in ("shop", "kiosk"))
    inbox.put(first)
    time.sleep(0.01)
    inbox.put(second)
    (tmp_path / "requests" / "x.ask.json").write_text("{}")
    assert inbox.take() == (first, second)
    assert inbox.take() == ()
    assert inbox.reply(first.id) is None
    inbox.answer(first.id, Reply(state="done"))
    assert inbox.reply(first.id) == Reply(state="done")
    inbox.forget(first.id)
    inbox.answer(second.id, Reply(state="under way"))
    inbox.clear()
    assert inbox.reply(second.id) is None


def test_a_taken_port_is_seen() -> None:
    """And a free one is free."""
    port = free_port()
    assert not port_taken("127.0.0.1", port)


@pytest.mark.parametrize(
    ("wish", "replicas", "places"),
    [
        ({}, 2, 3),
        ({"replicas": 3}, 3, 4),
        ({"most": 4}, 1, 5),
        ({"least": 2, "most": 4}, 2, 5),
        ({"least": 2, "most": 4, "replicas": 3}, 3, 5),
        ({"least": 2, "most": 4, "replicas": 9}, 4, 5),
        ({"least": 3}, 3, 4),
    ],
)
def test_what_is_not_named_stays_or_is_the_default(
    wish: dict[str, int], replicas: int, places: int
) -> None:
    """Scaling begins with the least, unless another number between is named."""
    spec = Spec().changed(Wish.model_validate({"model": "shop", **wish}))
    assert (spec.replicas, spec.places) == (replicas, places)
    assert spec.changed(Wish(model="shop")) == spec


def until_it_sleeps(pid: int) -> None:
    """Wait until a launched process has become its command."""
    deadline = time.monotonic() + 10
    while b"launch" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
