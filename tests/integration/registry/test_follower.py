"""A host serves what the ledger says, and its last good state while anything is wrong."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trivet.errors import Difference, RegistryUnavailable
from trivet.live import Live, Shelf
from trivet.registry import claim, ledger
from trivet.registry.client import connect, database_file
from trivet.registry.download import fetch
from trivet.registry.follower import Follower
from trivet.registry.gate import Gates, Verdict
from trivet.registry.plan import plan_promotion, plan_rollback
from trivet.registry.release import apply
from trivet.registry.versions import Pointers, read_pointers
from waiting import wait_for

from .toy import MODEL, register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

    from trivet.registry.proposal import Proposal

    from .conftest import Registry


class Hands:
    """A clock that a test turns."""

    def __init__(self) -> None:
        """Start at noon."""
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the moment that it shows."""
        return self.now


def follower(
    registry: Registry, gates: Gates | None = None, clock: Hands | None = None
) -> Follower:
    """Return a follower of the toy model."""
    return Follower(
        registry.settings, MODEL, gates_factory=lambda _: gates or {}, clock=clock or Hands()
    )


def live(registry: Registry) -> Live:
    """Return the live state of this host, which there must be."""
    state = registry.shelf.read_live()
    assert state is not None
    return state


def loaded(registry: Registry) -> set[int]:
    """Return the versions that workers are to hold."""
    return {one.version for one in live(registry).versions}


def refuse(proposal: Proposal) -> Verdict:
    """Be a gate that finds a feature missing."""
    column = proposal.contract.columns[0].name
    missing = Difference(column=column, aspect="feature", contract="present", feast="missing")
    return Verdict(passed=False, differences=(missing,))


def corrupt(registry: Registry) -> int:
    """Register a version whose model is damaged afterwards, and return its number."""
    version = register(registry.client, registry.settings, 4)
    uri = registry.client.get_model_version_download_uri(MODEL, str(version))
    Path(uri.removeprefix("file://"), "model.skops").write_bytes(b"")
    return version


@pytest.fixture
def running(registry: Registry) -> Iterator[threading.Event]:
    """Run a follower in a thread, until the test sets the event or ends."""
    stop = threading.Event()
    thread = threading.Thread(target=follower(registry).run, args=(stop,))
    thread.start()
    yield stop
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_before_the_first_release_nothing_is_live(registry: Registry) -> None:
    """A candidate is not served by being there."""
    follower(registry).step()
    assert registry.shelf.read_live() is None


def test_a_release_becomes_live_with_its_files_on_the_host(registry: Registry) -> None:
    """The live state never names what is not there."""
    release = registry.promote(2)
    follower(registry).step()
    state = live(registry)
    assert (state.champion, state.release, state.refused) == (2, release.run_id, None)
    assert (registry.shelf.path(state.versions[0].digest) / "MLmodel").is_file()


def test_promotions_and_rollbacks_are_followed_with_the_previous_kept_ready(
    registry: Registry,
) -> None:
    """The version that a rollback would return to is loaded beforehand."""
    watching = follower(registry)
    for version in (1, 2, 3):
        registry.promote(version)
        watching.step()
    assert (live(registry).champion, loaded(registry)) == (3, {2, 3})
    plan = plan_rollback(registry.client, MODEL)
    apply(registry.client, registry.settings, plan, {}, "ann")
    watching.step()
    assert (live(registry).champion, loaded(registry)) == (2, {1, 2})


def test_every_aliased_version_is_loaded_under_its_alias(registry: Registry) -> None:
    """A route by alias answers as soon as somebody sets one."""
    registry.promote(1)
    registry.client.set_registered_model_alias(MODEL, "challenger", "3")
    follower(registry).step()
    aliases = {one.version: one.aliases for one in live(registry).versions}
    assert aliases == {1: ("champion",), 3: ("challenger",)}


def test_a_poll_that_finds_nothing_new_writes_nothing(registry: Registry) -> None:
    """Workers that watch the file are not woken."""
    registry.promote(1)
    watching = follower(registry)
    watching.step()
    before = registry.shelf.live_file.stat().st_mtime_ns
    watching.step()
    follower(registry).step()
    assert registry.shelf.live_file.stat().st_mtime_ns == before


def test_a_registry_whose_file_is_as_it_was_is_not_asked_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before anything writes to it; a look by MLflow costs a hundred times as much."""
    asked = []

    def counted(client: MlflowClient, model: str) -> Pointers:
        asked.append(model)
        return read_pointers(client, model)

    monkeypatch.setattr("trivet.registry.follower.read_pointers", counted)
    registry.promote(1)
    clock = Hands()
    following = follower(registry, clock=clock)
    following.step()
    following.step()
    assert len(asked) == 2  # it was written to only now: another write could leave the same times
    file = database_file(registry.settings)
    assert file is not None
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))
    following.step()
    assert len(asked) == 3
    following.step()
    assert len(asked) == 3
    clock.now += timedelta(minutes=1)  # whatever a file system says
    following.step()
    assert len(asked) == 4
    registry.promote(2)
    following.step()
    assert live(registry).champion == 2


def test_a_champion_that_is_corrupt_leaves_the_old_one_live_and_says_why(
    registry: Registry,
) -> None:
    """The registry says one thing, the host another, and everybody can see it."""
    registry.promote(1)
    watching = follower(registry)
    watching.step()
    registry.promote(corrupt(registry))
    watching.step()
    state = live(registry)
    assert (state.champion, loaded(registry)) == (1, {1})
    assert state.refused is not None
    assert "model.skops of toy version 4" in state.refused


def test_a_corrupt_challenger_is_left_out_and_the_rest_is_served(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what is broken is missing."""
    registry.promote(1)
    registry.client.set_registered_model_alias(MODEL, "challenger", str(corrupt(registry)))
    follower(registry).step()
    assert loaded(registry) == {1}
    assert "toy version 4 is left out" in caplog.text


def test_an_alias_moved_by_hand_is_accepted_when_two_looks_agree(registry: Registry) -> None:
    """One look may have caught a release on its way."""
    registry.promote(1)
    watching = follower(registry)
    watching.step()
    registry.move_alias(3)
    watching.step()
    assert live(registry).champion == 1
    for _ in range(2):
        watching.step()
    assert (live(registry).champion, live(registry).refused) == (3, None)
    assert ledger.read_chain(registry.client, MODEL)[-1].action == "accept"


def test_an_alias_moved_by_hand_before_any_release_opens_the_ledger(registry: Registry) -> None:
    """Whoever only knows MLflow gets a service too."""
    registry.move_alias(2)
    watching = follower(registry)
    for _ in range(3):
        watching.step()
    assert live(registry).champion == 2


def test_an_alias_moved_by_hand_to_what_does_not_fit_is_refused_and_shown(
    registry: Registry,
) -> None:
    """The old version stays, nobody's alias is overwritten, and the ledger knows nothing of it."""
    registry.promote(1)
    watching = follower(registry, {"features": refuse})
    for version in (1, 3):
        registry.move_alias(version)
        for _ in range(3):
            watching.step()
    state = live(registry)
    assert state.champion == 1
    assert state.refused is not None
    assert "Version 3" in state.refused
    assert "features: age feature: present -> missing." in state.refused
    assert registry.alias == 3
    assert len(ledger.read_chain(registry.client, MODEL)) == 2


def test_a_refused_alias_is_forgotten_when_it_is_moved_back(registry: Registry) -> None:
    """Registry and host agree again."""
    registry.promote(1)
    watching = follower(registry, {"features": refuse})
    registry.move_alias(3)
    for _ in range(3):
        watching.step()
    registry.move_alias(1)
    watching.step()
    assert live(registry).refused is None


def test_an_alias_that_was_removed_leaves_its_version_live(registry: Registry) -> None:
    """A service does not fall silent by a click."""
    registry.promote(1)
    watching = follower(registry)
    watching.step()
    registry.client.delete_registered_model_alias(MODEL, "champion")
    watching.step()
    assert live(registry).champion == 1
    assert "removed by hand" in (live(registry).refused or "")


def test_an_interrupted_release_is_finished_after_a_while(registry: Registry) -> None:
    """Its owner gets a few seconds to do it by itself."""
    clock = Hands()
    registry.promote(1)
    second = registry.promote(2)
    registry.client.update_run(second.run_id, status="RUNNING")
    registry.move_alias(1)
    watching = follower(registry, clock=clock)
    watching.step()
    assert registry.shelf.read_live() is None
    clock.now += timedelta(seconds=6)
    watching.step()
    watching.step()
    assert (registry.alias, live(registry).champion) == (2, 2)


def test_the_alias_of_an_outrun_release_is_not_taken_for_a_hand(registry: Registry) -> None:
    """It points to the wrong version for the blink between its write and the look behind it."""
    first = registry.promote(1)
    registry.promote(2)
    watching = follower(registry)
    watching.step()
    registry.move_alias(1)
    watching.step()
    claim.finish(registry.client, MODEL, first)
    watching.step()
    assert live(registry).champion == 2
    assert [one.action for one in ledger.read_chain(registry.client, MODEL)].count("accept") == 0


def test_while_mlflow_is_down_the_live_state_stays_and_one_line_says_so(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that starts in the outage serves what was live before it."""
    registry.promote(1)
    follower(registry).step()
    before = registry.shelf.live_file.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    watching = follower(registry)
    for _ in range(2):
        with pytest.raises(RegistryUnavailable):
            watching.step()
    stop = threading.Event()
    with caplog.at_level(logging.WARNING, "trivet"):
        thread = threading.Thread(target=follower(registry).run, args=(stop,))
        thread.start()
        time.sleep(1)
        stop.set()
        thread.join(20)
    assert registry.shelf.live_file.read_bytes() == before
    assert caplog.text.count("does not answer") == 1


def test_a_server_that_takes_connections_and_says_nothing_counts_as_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be waited for two minutes by MLflow's default, twice."""
    registry.promote(1)
    follower(registry).step()
    before = registry.shelf.read_live()
    assert before is not None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "to be removed after the test")
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
        waiting = Follower(
            registry.settings, MODEL, partial(connect, silence_seconds=1), clock=Hands()
        )
        began = time.monotonic()

        with pytest.raises(RegistryUnavailable):
            waiting.step()

    assert time.monotonic() - began < 10
    assert registry.shelf.read_live() == before


def test_a_running_follower_outlives_an_outage_and_catches_up(
    registry: Registry, running: threading.Event
) -> None:
    """A promotion made meanwhile is followed as soon as the registry answers again."""
    registry.promote(1)
    wait_for(lambda: registry.shelf.read_live() is not None)
    database = registry.settings.root / "mlflow.db"
    plan = plan_promotion(registry.client, MODEL, 2)
    kept = database.read_bytes()
    database.write_bytes(b"broken" * 1000)
    time.sleep(0.3)
    assert live(registry).champion == 1
    database.write_bytes(kept)
    apply(registry.client, registry.settings, plan, {}, "ann")
    wait_for(lambda: live(registry).champion == 2)
    assert not running.is_set()


def test_a_release_does_not_wait_for_a_long_look_at_something_else(registry: Registry) -> None:
    """Feast is imported for one, which takes seconds."""
    registry.promote(1)
    looking, go_on, stop = threading.Event(), threading.Event(), threading.Event()

    def look() -> None:
        looking.set()
        go_on.wait()

    watching = Follower(registry.settings, MODEL, look_beside=look)
    thread = threading.Thread(target=watching.run, args=(stop,))
    thread.start()
    try:
        assert looking.wait(20)
        registry.promote(2)
        wait_for(lambda: live(registry).champion == 2)
    finally:
        stop.set()
        go_on.set()
        thread.join(20)


def test_a_local_copy_that_vanished_is_brought_again_at_the_next_start(registry: Registry) -> None:
    """A host's disk may be wiped while the service is off."""
    registry.promote(1)
    follower(registry).step()
    shutil.rmtree(registry.shelf.versions)
    follower(registry).step()
    assert registry.shelf.path(live(registry).versions[0].digest).is_dir()


def test_a_local_copy_that_was_damaged_is_brought_again(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk forgets; what a worker refuses to load would be refused for ever."""
    registry.promote(1)
    follower(registry).step()
    copy = registry.shelf.path(live(registry).versions[0].digest)
    model = copy / "model.skops"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    follower(registry).step()
    assert model.read_bytes() == whole
    assert "the local copy is brought again: model.skops of toy version 1 is not" in caplog.text
    assert [one.name for one in registry.shelf.versions.iterdir()] == [copy.name]


def test_the_champion_is_live_before_the_others_are_brought(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a rollback does not wait for the download of what was before it."""
    for version in (1, 2, 3):
        registry.promote(version)
    watching = follower(registry)
    watching.step()
    registry.client.set_registered_model_alias(MODEL, "fallback", "3")
    plan = plan_rollback(registry.client, MODEL)
    apply(registry.client, registry.settings, plan, {}, "ann")
    seen = []

    def fetched(client: MlflowClient, model: str, version: int, shelf: Shelf) -> str:
        seen.append((version, live(registry).champion))
        return fetch(client, model, version, shelf)

    monkeypatch.setattr("trivet.registry.shelve.fetch", fetched)
    watching.step()
    assert seen == [(2, 3), (1, 2), (3, 2)]
    assert [one.version for one in live(registry).versions] == [2, 1, 3]
    assert live(registry).versions[2].aliases == ("fallback",)


def test_versions_are_named_in_the_order_of_their_importance(registry: Registry) -> None:
    """The champion, the one before it, then the newest of those with an alias: for their memory."""
    registry.promote(3)
    registry.promote(1)
    newest = register(registry.client, registry.settings, 4)
    registry.client.set_registered_model_alias(MODEL, "older", "2")
    registry.client.set_registered_model_alias(MODEL, "newer", str(newest))
    follower(registry).step()
    assert [one.version for one in live(registry).versions] == [1, 3, newest, 2]


def test_whether_mlflow_answers_stands_beside_the_live_state(
    registry: Registry, running: threading.Event
) -> None:
    """Since when, and why not; workers and commands read it without MLflow."""
    registry.promote(1)
    wait_for(lambda: contact_is(registry, ok=True))
    database = registry.settings.root / "mlflow.db"
    away = database.with_name("away.db")
    database.rename(away)
    wait_for(lambda: contact_is(registry, ok=False))
    said = registry.shelf.read_contact()
    assert said is not None
    assert f"MLflow at sqlite:///{database} does not answer" in (said.why or "")
    away.rename(database)
    wait_for(lambda: contact_is(registry, ok=True))
    assert not running.is_set()


def contact_is(registry: Registry, *, ok: bool) -> bool:
    """Say whether the follower has said that it reaches the registry, or that it does not."""
    said = registry.shelf.read_contact()
    return said is not None and said.ok == ok


def test_a_second_follower_takes_over_when_the_first_is_killed(registry: Registry) -> None:
    """One follows at a time; the lock goes with its holder, however it ends."""
    script = (
        "import sys, time; from filelock import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    registry.shelf.folder.mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(registry.shelf.lock_file)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    registry.promote(1)
    stop = threading.Event()
    second = threading.Thread(target=follower(registry).run, args=(stop,))
    second.start()
    try:
        time.sleep(0.5)
        assert registry.shelf.read_live() is None
        holder.kill()
        holder.communicate()
        wait_for(lambda: registry.shelf.read_live() is not None)
    finally:
        stop.set()
        second.join(20)
