"""Replicas are started, watched, replaced, renewed and scaled; the fakes have a clock of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from trivet.gateway.requests import Ask, Reply, Wish
from unit.gateway.fakes import MODEL, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world in which nothing runs yet."""
    return World(tmp_path)


def ask(world: World, **wish: object) -> str:
    """Ask for something; return the request's id."""
    made = Ask(wishes=(Wish(model=MODEL, **wish),))  # type: ignore[arg-type]
    world.inbox.put(made)
    return made.id


def never_ready(world: World) -> Callable[[], None]:
    """Return what has all replicas answer, of which only those of the first code are ready."""

    def answer() -> None:
        for process in world.alive:
            world.answer(process, ready=process.replica.generation == 1)

    return answer


def test_all_start_and_get_requests_once_they_are_ready(world: World) -> None:
    """At their own addresses; the place that is left over stays in maintenance."""
    world.slow = True
    world.up(replicas=3)
    assert world.states() == {"r1": "starting", "r2": "starting", "r3": "starting"}
    assert world.serving() == set()
    world.slow = False
    world.run(0.2)
    assert world.serving() == {"r1", "r2", "r3"}
    assert {world.proxy.ports[name] for name in ("r1", "r2", "r3")} == {40_000, 40_001, 40_002}
    assert world.proxy.states["r4"] == "maint"
    assert world.supervisor.settled


def test_a_dead_replica_is_started_again_with_backoff(world: World) -> None:
    """At once it gets no requests any more; the others go on."""
    world.up(replicas=2)
    world.run(15)
    world.processes[0].code = -9
    world.run(0.1)
    assert world.serving() == {"r2"}
    assert world.states() == {"r1": "waiting", "r2": "ready"}
    assert "shop r1: ended by SIGKILL; it is started again in 0.5 s" in world.said
    world.run(0.8)
    assert world.serving() == {"r1", "r2"}
    assert [r.restarts for r in world.fleet.replicas] == [1, 0, 0]


def test_waits_grow_and_a_replica_that_dies_again_and_again_is_given_up(world: World) -> None:
    """Its code was ready once: five times in a row; the others go on."""
    world.up(replicas=2)
    world.broken_code = True
    world.processes[0].code = 1
    world.run(60)
    waits = [line.rpartition(" in ")[2] for line in world.said if "r1: ended" in line]
    assert waits[:4] == ["0.5 s", "1 s", "2 s", "4 s"]
    assert world.states() == {"r1": "failed", "r2": "ready"}
    assert world.said[-1] == "shop r1: ended with code 1, 5 times in a row; it is not started again"
    assert len(world.processes) == 6


def test_a_replica_that_lived_for_long_has_all_its_tries_again(world: World) -> None:
    """Deaths a day apart are no loop."""
    world.up(replicas=1)
    for _ in range(8):
        world.run(12)
        world.alive[0].code = -11
        world.run(2)
    assert world.states() == {"r1": "ready"}
    assert world.fleet.replicas[0].restarts == 8


def test_one_that_does_not_answer_is_killed_and_replaced(world: World) -> None:
    """A stopped process takes no notice of SIGTERM."""
    world.up(replicas=2)
    world.processes[0].deaf = True
    world.run(9)
    assert world.processes[0].signals == []
    world.run(1.5)
    assert world.processes[0].signals[0] == signal.SIGKILL
    world.run(1)
    assert world.states() == {"r1": "ready", "r2": "ready"}
    assert "shop r1: has not answered for 10 s: killed" in world.said


def test_one_whose_worker_is_new_has_its_time(world: World) -> None:
    """As long again, but not for ever: one whose workers die at their start is silent too."""
    world.up(replicas=1)
    (process,) = world.processes
    process.deaf = True

    def renew() -> None:
        process.renewed = world.now

    world.run(8)
    renew()
    world.run(9)
    assert process.signals == []
    world.run(40, renew)
    assert process.signals == []
    world.run(5, renew)
    assert process.signals[0] == signal.SIGKILL


def test_where_starts_are_slow_a_new_worker_has_longer(world: World) -> None:
    """Until its parent looks, and twice as long as the replica itself took, which imported the same."""
    world.slow = True
    world.up(replicas=1)
    world.run(13)
    world.slow = False
    world.run(1)
    assert world.states() == {"r1": "ready"}
    (process,) = world.processes
    process.deaf, process.renewed = True, world.now
    world.run(35)
    assert process.signals == []
    world.run(5)
    assert process.signals[0] == signal.SIGKILL


def test_one_that_has_too_much_to_do_is_not_killed(world: World) -> None:
    """Its probes wait behind its work; killed, it would leave that to the others."""
    world.up(replicas=1)
    (process,) = world.processes
    process.deaf = True
    world.proxy.in_flight["r1"] = 64

    def answer_one() -> None:
        world.proxy.requests["r1"] = world.proxy.requests.get("r1", 64) + 1

    world.run(60, answer_one)
    assert process.signals == []
    world.run(11)
    assert process.signals[0] == signal.SIGKILL


def test_one_that_says_that_it_is_not_ready_is_left_alone(world: World) -> None:
    """Its feature store may be away; another start would not help."""
    world.up(replicas=1)
    world.processes[0].deaf = True
    for _ in range(30):
        world.run(1, lambda: world.answer(world.processes[0], ready=False))
    assert world.states() == {"r1": "not ready"}
    assert world.processes[0].signals == []


def test_one_that_never_answers_is_started_again(world: World) -> None:
    """After the time that a start may take."""
    world.slow = True
    world.up(replicas=1)
    world.run(58)
    assert len(world.processes) == 1
    world.run(3)
    assert len(world.processes) == 2


def test_one_that_answers_and_does_not_become_ready_is_spoken_of(world: World) -> None:
    """Once; it may be that nothing was released yet."""
    world.slow = True
    world.up(replicas=1)
    world.run(70, lambda: world.answer(world.processes[0], ready=False))
    assert world.states() == {"r1": "starting"}
    assert sum("is a version released?" in line for line in world.said) == 1
    world.slow = False
    world.run(1)
    assert world.states() == {"r1": "ready"}


def test_a_start_that_the_system_refuses_is_tried_again(world: World) -> None:
    """It has no memory for another process; the others go on."""
    world.up(replicas=2)
    world.refused = True
    world.processes[0].code = -9
    world.run(20)
    assert world.states() == {"r1": "waiting", "r2": "ready"}
    assert world.fleet.replicas[0].why == "cannot be started: no memory"
    world.refused = False
    world.run(20)
    assert world.states() == {"r1": "ready", "r2": "ready"}


def test_code_that_does_not_come_up_is_given_up_after_three_tries(world: World) -> None:
    """The first start of a model."""
    world.broken_code = True
    world.up(replicas=1)
    world.run(10)
    assert len(world.processes) == 3
    assert world.fleet.broken is world.fleet.replicas[0]


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_rolling_restart_never_has_fewer_than_are_wanted(world: World, replicas: int) -> None:
    """One more starts first; then an old one is drained, and ended by SIGTERM."""
    world.up(replicas=replicas)
    old = list(world.alive)
    serving: list[int] = []
    running: list[int] = []

    def note() -> None:
        serving.append(len(world.serving()))
        running.append(len(world.alive))

    made = ask(world)
    world.run(30, note)
    assert min(serving) == replicas
    assert max(running) == replicas + 1
    assert all(process.signals[0] == signal.SIGTERM for process in old)
    assert len(world.alive) == replicas
    assert not set(map(id, world.alive)) & set(map(id, old))
    assert world.inbox.reply(made) == Reply(state="done")


def test_a_plain_restart_does_not_reload_the_proxy(world: World) -> None:
    """What is in flight stays counted; a certificate that was written anew is taken."""
    world.tls = world.home.folder / "gateway.pem"
    world.home.folder.mkdir(parents=True, exist_ok=True)
    world.tls.touch()
    world.up(replicas=2)
    made = ask(world)
    world.run(30)
    assert world.inbox.reply(made) == Reply(state="done")
    assert world.proxy.reloaded == 0
    assert world.serving() == {r.name for r in world.fleet.replicas if r.state == "ready"}
    os.utime(world.tls, (1, 1))
    ask(world)
    world.run(30)
    assert world.proxy.reloaded == 1
    ask(world, balance="random")
    world.run(30)
    assert world.proxy.reloaded == 2
    world.proxy.running = False
    world.run(1)
    ask(world)
    world.run(30)
    assert (world.proxy.started, world.proxy.reloaded) == (2, 2)


def test_a_draining_replica_ends_when_nothing_is_in_flight(world: World) -> None:
    """Not before, and after half a minute all the same."""
    world.up(replicas=1)
    world.proxy.in_flight["r1"] = 1
    ask(world)
    world.run(5)
    old = world.processes[0]
    assert (world.proxy.states["r1"], old.signals) == ("drain", [])
    assert old.replica.drain_file.exists()
    world.proxy.in_flight["r1"] = 0
    world.run(0.5)
    assert old.signals[0] == signal.SIGTERM
    world.proxy.in_flight["r2"] = 1
    ask(world)
    world.run(28)
    assert world.processes[1].signals == []
    world.run(5)
    assert world.processes[1].signals[0] == signal.SIGTERM


def test_one_that_does_not_end_is_killed(world: World) -> None:
    """Ten seconds after SIGTERM."""
    world.up(replicas=1)
    world.processes[0].deaf = True
    ask(world)
    world.run(20, lambda: world.answer(world.processes[0]))
    assert [*dict.fromkeys(world.processes[0].signals)] == [signal.SIGTERM, signal.SIGKILL]


def test_an_update_whose_code_is_broken_is_given_up(world: World) -> None:
    """Those that ran go on, and whoever asked is told which one failed."""
    world.up(replicas=2)
    world.broken_code = True
    made = ask(world)
    world.run(10)
    assert world.serving() == {"r1", "r2"}
    assert world.states() == {"r1": "ready", "r2": "ready"}
    assert world.inbox.reply(made) == Reply(state="failed", model=MODEL, why="r3")
    world.broken_code = False
    made = ask(world)
    world.run(20)
    assert world.inbox.reply(made) == Reply(state="done")
    assert len(world.processes) == 2 + 3 + 2


def test_an_update_that_answers_and_does_not_become_ready_is_given_up(world: World) -> None:
    """Those that ran go on; it has as long as a start may take."""
    world.up(replicas=2)
    world.slow = True
    made, answer = ask(world), never_ready(world)

    world.run(59, answer)
    assert world.states() == {"r1": "ready", "r2": "ready", "r3": "starting"}
    world.run(2, answer)
    assert world.inbox.reply(made) == Reply(state="failed", model=MODEL, why="r3")
    assert world.fleet.replicas[2].why == "answers, and was not ready for 60 s"
    assert world.processes[2].signals[0] == signal.SIGKILL
    world.run(60, answer)
    assert world.states() == {"r1": "ready", "r2": "ready"}
    assert len(world.processes) == 3
    assert world.supervisor.settled
    world.slow = False
    made = ask(world)
    world.run(20)
    assert world.inbox.reply(made) == Reply(state="done")


def test_an_update_that_overtakes_another_falls_back_as_far(world: World) -> None:
    """To what still serves: neither of the two was ever ready."""
    world.up(replicas=2)
    world.slow = True
    first, answer = ask(world), never_ready(world)

    world.run(5, answer)
    second = ask(world)
    world.run(70, answer)
    for made in (first, second):
        assert world.inbox.reply(made) == Reply(state="failed", model=MODEL, why="r3")
    assert world.states() == {"r1": "ready", "r2": "ready"}
    assert world.supervisor.settled


def test_a_restart_of_what_was_never_ready_ends_and_ends_nothing(world: World) -> None:
    """There is nothing to fall back to; a release may come, and then it is ready."""
    world.slow = True
    world.up(replicas=1)

    def answer() -> None:
        for process in world.alive:
            world.answer(process, ready=False)

    world.run(5, answer)
    made = ask(world)
    world.run(59, answer)
    assert world.inbox.reply(made) == Reply(state="under way")
    world.run(2, answer)
    assert world.inbox.reply(made) == Reply(state="failed", model=MODEL, why="r2")
    assert world.states() == {"r2": "starting"}
    assert world.fleet.replicas[1].why == "answers, and is not ready"
    world.slow = False
    world.run(1)
    assert world.supervisor.settled


def test_nobody_waits_for_one_that_was_given_up(world: World) -> None:
    """It is as it is wanted but for that one; and where none serves nothing is at rest."""
    world.up(replicas=2)
    world.broken_code = True
    world.processes[0].code = 1
    world.run(5)
    assert not world.supervisor.at_rest
    world.run(60)
    assert world.states() == {"r1": "failed", "r2": "ready"}
    assert world.supervisor.at_rest
    assert not world.supervisor.settled
    world.processes[1].code = 1
    world.run(60)
    assert world.states() == {"r1": "failed", "r2": "failed"}
    assert not world.supervisor.at_rest


def test_an_update_that_the_proxy_refuses_changes_nothing(world: World) -> None:
    """Nor does a later one make up for it."""
    world.up(replicas=2)
    world.proxy.refuses = True
    wishes = (Wish(model=MODEL, replicas=4, balance="random"), Wish(model="kiosk", replicas=1))
    world.inbox.put(refused := Ask(wishes=wishes))
    world.run(10)
    reply = world.inbox.reply(refused.id)
    assert reply is not None
    assert reply.state == "failed"
    assert "refuses its configuration" in str(reply.why)
    assert [fleet.model for fleet in world.supervisor.fleets] == [MODEL]
    assert len(world.processes) == 2
    assert (world.fleet.spec.balance, world.fleet.generation) == ("round_robin", 1)
    assert world.supervisor.settled
    world.proxy.refuses = False
    made = ask(world)
    world.run(20)
    assert world.inbox.reply(made) == Reply(state="done")
    assert len(world.serving()) == 2


def test_an_update_may_change_how_many_and_how_they_are_balanced(world: World) -> None:
    """The proxy is reloaded once; what is not named stays."""
    world.up(replicas=2, workers=2)
    made = ask(world, replicas=4, balance="random")
    world.run(30)
    assert world.inbox.reply(made) == Reply(state="done")
    assert len(world.serving()) == 4
    assert world.proxy.reloaded == 1
    assert (world.fleet.spec.balance, world.fleet.spec.workers) == ("random", 2)
    assert world.proxy.gateway is not None
    assert world.proxy.gateway.backends[0].balance == "random"
    ask(world, replicas=1)
    world.run(30)
    assert len(world.serving()) == 1


def test_a_model_can_be_added(world: World) -> None:
    """Behind the same gateway."""
    world.up(replicas=1)
    world.inbox.put(Ask(wishes=(Wish(model="kiosk", replicas=1),)))
    world.run(2)
    assert [fleet.model for fleet in world.supervisor.fleets] == [MODEL, "kiosk"]
    assert world.supervisor.settled


def test_a_proxy_that_has_ended_is_started_again_as_things_are(world: World) -> None:
    """Replicas that were ready are so in its configuration."""
    world.up(replicas=2)
    world.proxy.running = False
    world.run(0.2)
    assert world.proxy.started == 2
    assert world.serving() == {"r1", "r2"}


def test_what_the_proxy_did_not_take_is_told_again(world: World) -> None:
    """It may be busy with a reload."""
    world.up(replicas=2)
    world.proxy.deaf = True
    world.processes[0].code = -9
    world.run(2)
    world.proxy.deaf = False
    world.run(0.3)
    assert world.serving() == {"r1", "r2"}
    assert world.proxy.ports["r1"] == 40_002


def test_more_work_brings_more_replicas_and_less_fewer(world: World) -> None:
    """All have a place from the start: nothing is reloaded."""
    world.up(least=1, most=3)
    assert len(world.serving()) == 1
    world.proxy.waiting = 12
    world.run(10)
    assert len(world.serving()) == 3
    world.proxy.waiting = 0
    world.run(12)
    assert len(world.serving()) == 2
    world.run(12)
    assert len(world.serving()) == 1
    assert world.proxy.reloaded == 0
    changes = [(one.before, one.wanted) for one in world.written[0].decisions]
    assert changes[-2:] == [(3, 2), (2, 1)]
    assert changes[0][0] == 1
    assert any("replicas: 12" in line for line in world.said)


def test_one_that_was_given_up_does_not_keep_more_from_coming(world: World) -> None:
    """It keeps its seat, which else would wait for ever for it to be ready."""
    world.up(least=2, most=3)
    world.broken_code = True
    world.processes[0].code = 1
    world.run(60)
    assert world.states() == {"r1": "failed", "r2": "ready"}
    world.broken_code = False
    world.proxy.waiting = 12
    world.run(10)
    assert world.serving() == {"r2", "r3"}


def test_at_the_end_all_replicas_get_their_time(world: World) -> None:
    """SIGTERM to all, and SIGKILL to those that take no notice."""
    world.up(replicas=2)
    world.processes[0].deaf = True
    world.supervisor.close()
    assert not world.proxy.running
    assert not world.supervisor.end_replicas(world.now)
    world.now += 1
    assert not world.supervisor.end_replicas(world.now)
    assert world.processes[1].code == -signal.SIGTERM
    world.now += 10
    world.supervisor.end_replicas(world.now)
    assert world.supervisor.end_replicas(world.now)
    assert world.processes[0].signals[-1] == signal.SIGKILL


def test_what_others_may_know_is_written(world: World) -> None:
    """Twice a second, with what the proxy counts."""
    world.up(replicas=1)
    world.proxy.in_flight["r1"] = 7
    world.run(1)
    (model,) = world.written
    replica = model.replicas[0]
    assert (model.name, model.wanted, model.balance) == (MODEL, 1, "round_robin")
    assert (replica.name, replica.state, replica.version) == ("r1", "ready", 1)
    assert (replica.pid, replica.port, replica.in_flight) == (100, 40_000, 7)
