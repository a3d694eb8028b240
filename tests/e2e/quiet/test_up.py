"""`trivet up`: replicas behind one address, and what befalls them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from e2e.toy import AS_GOOD, CALLERS, GOOD, MODEL, SLOW, Toy
from gateways import Gateway
from releases import Releaser
from steady import Steady
from waiting import running

pytestmark = pytest.mark.quiet

BODY = {"instances": [{"user": 1, "x": 2.0}]}
SLOWLY = {"instances": [{"user": CALLERS, "x": 2.0}]}
SETTINGS = {
    "TRIVET_REPLICA_SILENT_SECONDS": "8",
    "TRIVET_SCALE_UP_SECONDS": "2",
    "TRIVET_SCALE_DOWN_SECONDS": "4",
}


@pytest.fixture(scope="module")
def gateway(toy: Toy) -> Iterator[Gateway]:
    """Two replicas in the background, and a third if there is much to do."""
    found = Gateway(project=toy.project, model=MODEL)
    if toy.ledger[-1].to_version != GOOD:  # others have released from this project before
        Releaser(toy.project, MODEL).promote(GOOD)
    options = ("--min", "2", "--max", "3", "--target", "8", "--detach")
    toy.project.run("trivet", "up", MODEL, *options, *found.where, env=SETTINGS)
    # What this host served last answers until the follower has asked the registry.
    found.until(lambda: {r.version for r in found.replicas[:2]} == {GOOD}, within=30)
    yield found
    if found.home.read_state() is not None:
        toy.project.run("trivet", "down")


@pytest.fixture
def releaser(toy: Toy) -> Releaser:
    """Releases without the seconds that a command takes to start."""
    return Releaser(toy.project, MODEL)


def steady(gateway: Gateway, folder: Path, rate: float = 60) -> Steady:
    """Send for as long as the block lasts."""
    return Steady(gateway.port, BODY, rate, folder)


def failed(load: Steady) -> list[Any]:
    """Return the requests that got no right answer."""
    return [answer for answer in load.answers if answer.status != 200]


def test_all_replicas_answer_through_one_address(gateway: Gateway) -> None:
    """In turn; each says who it is: its name, and the worker's process."""
    said = [gateway.predict(BODY).headers["X-Trivet-Replica"] for _ in range(8)]
    workers = {f"{r.name}-{gateway.workers(r.name)[0].pid}" for r in gateway.replicas}
    assert set(said) == workers
    assert {said.count(one) for one in workers} == {4}


def test_status_shows_each_replica(gateway: Gateway) -> None:
    """State, version, requests and quantiles."""
    for _ in range(8):
        assert gateway.predict(BODY).is_success
    gateway.until(lambda: all(r.requests >= 4 and not r.in_flight for r in gateway.replicas))
    shown = gateway.project.run("trivet", "status").stdout
    assert "toy: 2 replicas of 1 worker, round robin, scaled between 2 and 3" in shown
    for replica in ("r1", "r2"):
        (row,) = (line.split() for line in shown.splitlines() if line.split()[:1] == [replica])
        assert row[1:3] == ["ready", "1"]
        assert int(row[3]) >= 4
        assert 0 < float(row[4]) <= float(row[5]) <= float(row[6]) < 1000
        assert row[7:] == ["0", "0"]


def test_a_replica_that_is_killed_is_replaced_and_no_request_fails(
    gateway: Gateway, tmp_path: Path
) -> None:
    """The whole group at once, by `kill -9`."""
    with steady(gateway, tmp_path) as load:
        gateway.signal("r1", signal.SIGKILL)
        gateway.until(lambda: gateway.replicas[0].restarts == 1)
        gateway.until(lambda: len({answer.replica for answer in load.look()}) == 3)
    assert not failed(load)
    gateway.settle(2)


def test_a_worker_that_is_killed_is_replaced_by_its_own_parent(gateway: Gateway) -> None:
    """The replica stays the same; requests go to the other one meanwhile."""
    (worker,) = gateway.workers("r2")
    pid = gateway.replicas[1].pid
    worker.kill()
    psutil.wait_procs([worker], timeout=10)
    asked = time.monotonic()
    assert gateway.predict(BODY).is_success
    assert time.monotonic() - asked < 5
    gateway.until(lambda: gateway.workers("r2") != [] and gateway.workers("r2")[0] != worker)
    gateway.settle(2)
    assert gateway.replicas[1].pid == pid, gateway.told()


def test_a_replica_that_hangs_is_killed_and_replaced(gateway: Gateway) -> None:
    """It is there, and answers nothing for eight seconds; a request that it has is not lost."""
    stopped, hung = gateway.replicas[1].pid, gateway.group("r2")
    gateway.signal("r2", signal.SIGSTOP)
    answers = [gateway.predict(BODY) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {200}
    gateway.until(lambda: gateway.replicas[1].pid not in {stopped, None})
    gateway.settle(2)
    assert not any(map(running, hung))
    assert "toy r2: has not answered for " in gateway.told()


def test_a_promotion_reaches_every_replica(gateway: Gateway, releaser: Releaser) -> None:
    """One follower looks for all of them; nothing is restarted."""
    before = [replica.pid for replica in gateway.replicas]
    releaser.promote(AS_GOOD)
    gateway.until(lambda: {r.version for r in gateway.replicas} == {AS_GOOD}, within=20)
    assert {gateway.predict(BODY).json()["model"]["version"] for _ in range(4)} == {AS_GOOD}
    releaser.roll_back()
    gateway.until(lambda: {r.version for r in gateway.replicas} == {GOOD}, within=20)
    assert [replica.pid for replica in gateway.replicas] == before


def test_an_update_fails_no_request(gateway: Gateway, tmp_path: Path) -> None:
    """`trivet up` again: each is another process afterwards; there were always two."""
    before = {replica.pid for replica in gateway.replicas}
    with steady(gateway, tmp_path) as load:
        gateway.project.run("trivet", "up", MODEL, "--target", "0.02")
    assert not failed(load)
    assert not before & {replica.pid for replica in gateway.replicas}


def test_more_work_brings_a_replica_and_less_takes_it_away(
    gateway: Gateway, tmp_path: Path
) -> None:
    """By requests in flight, of which the update before wants hardly any; the decisions are kept."""
    gateway.settle(2)
    with steady(gateway, tmp_path, rate=200):
        gateway.until(lambda: len(gateway.replicas) == 3, within=20)
        gateway.settle(3)
    gateway.settle(2)
    (model,) = gateway.state.models
    assert [(one.before, one.wanted) for one in model.decisions][-2:] == [(2, 3), (3, 2)]


def test_a_drained_worker_is_not_ready_and_answers(gateway: Gateway) -> None:
    """`trivet drain`, as Kubernetes calls it before it ends a pod."""
    replica = gateway.replicas[0]
    own = f"http://127.0.0.1:{replica.port}"
    file = gateway.home.drain / f"{MODEL}-{replica.name}"
    gateway.project.run("trivet", "drain", "--wait", "1.5", env={"TRIVET_DRAIN_FILE": str(file)})
    assert httpx.get(f"{own}/readyz").status_code == 503
    assert httpx.post(f"{own}/predict", json=BODY).status_code == 200
    assert json.loads(httpx.get(f"{own}/status").text)["champion"] == GOOD
    file.unlink()
    gateway.until(lambda: httpx.get(f"{own}/readyz").is_success, within=5)


def test_the_gateway_itself_is_not_changed_while_it_runs(gateway: Gateway) -> None:
    """Exit code 2, with what to do."""
    done = gateway.project.run("trivet", "up", MODEL, "--port", "1", code=2)
    assert f"The gateway runs at {gateway.url} already" in done.stderr
    assert "trivet down" in done.stderr


def test_haproxy_is_started_again_when_it_ends(gateway: Gateway) -> None:
    """As things are: the replicas go on."""
    pid = gateway.state.proxy_pid
    assert pid is not None
    psutil.Process(pid).kill()
    gateway.until(lambda: gateway.state.proxy_pid not in {pid, None}, within=20)
    assert gateway.predict(BODY).is_success


def test_down_leaves_nothing_behind(gateway: Gateway) -> None:
    """No process, port or socket; and then there is nothing to end or to restart."""
    started = gateway.started()
    assert MODEL in gateway.project.run("trivet", "down").stdout
    gateway.nothing_is_left(started, within=1)
    for command in ("down", "restart"):
        done = gateway.project.run("trivet", command, code=3)
        assert "No gateway of this project runs." in done.stderr
    gateway.project.run("trivet", "up", MODEL, "--replicas", "1", "--detach", *gateway.where)


def test_when_the_supervisor_is_killed_all_end(gateway: Gateway) -> None:
    """By `kill -9`: replicas that went on unwatched would keep ports and versions for ever."""
    started = gateway.started()
    started[0].kill()
    gateway.nothing_is_left(started, sockets=True)
    assert gateway.home.read_state() is not None


def test_ctrl_c_answers_what_is_in_flight_and_ends_all(
    gateway: Gateway, releaser: Releaser
) -> None:
    """In the foreground, after a supervisor that was killed; exit code 0."""
    releaser.promote(SLOW)
    process = subprocess.Popen(
        ["trivet", "up", MODEL, "--replicas", "1", *gateway.where],
        cwd=gateway.project.root,
        env=gateway.project.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    gateway.until(lambda: read(gateway) == process.pid and gateway.state.settled)
    gateway.until(lambda: gateway.replicas[0].version == SLOW)
    started = gateway.started()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.predict(SLOWLY)))
    asking.start()
    time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    asking.join()
    releaser.roll_back()
    assert answers[0].status_code == 200
    assert process.returncode == 0, said
    assert "toy is up" in said
    assert "what is in flight is answered first" in said
    gateway.nothing_is_left(started, within=1)


def read(gateway: Gateway) -> int | None:
    """Return who supervises, if anybody does."""
    state = gateway.home.read_state()
    return state.supervisor_pid if state is not None and state.running else None
