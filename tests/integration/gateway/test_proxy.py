"""How HAProxy is started, reloaded, told and stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from replica import free_port
from trivet.errors import GatewayFailed, PortInUse
from trivet.gateway.binary import find_haproxy
from trivet.gateway.configuration import Server
from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer, Reply

from .conftest import Replicas, gateway_of
from .test_balance import by_server, in_flight, wait_for


def test_three_reloads_under_600_requests_a_second_break_none(
    proxy: Proxy, replicas: Replicas
) -> None:
    """The old process answers what it has, and lets go of kept connections with an answer."""
    gateway = gateway_of(*replicas(0.002, 0.002))
    proxy.start(gateway)
    replies: list[Reply] = []
    sender = threading.Thread(
        target=lambda: replies.extend(Offer(port=gateway.port).at_rate(600, 2400))
    )
    sender.start()
    workers = set()
    for _ in range(3):
        time.sleep(1)
        proxy.reload(gateway)
        workers.add(proxy._worker())
    sender.join()
    assert len(workers) == 3
    assert Counter(reply.status for reply in replies) == {200: 2400}


def test_a_reload_keeps_what_servers_were_told(proxy: Proxy, replicas: Replicas) -> None:
    """One is drained, one in maintenance; a server with a new address begins anew."""
    one, two, three, four = replicas(0.0, 0.0, 0.0, 0.0)
    gateway = gateway_of(one, two, three)
    proxy.start(gateway)
    proxy.drain("m", "r0")
    proxy.maintain("m", "r1")
    proxy.maintain("m", "r2")
    (backend,) = gateway.backends
    servers = (*backend.servers[:2], Server(name="r2", port=four.port))
    proxy.reload(replace(gateway, backends=(replace(backend, servers=servers),)))
    states = {server.server: server.state[:5] for server in proxy.stats().servers}
    assert states["r0"] == "DRAIN"
    assert states["r1"] == "MAINT"
    assert states["r2"].startswith("UP")
    assert by_server(Offer(port=gateway.port).in_turn(20, 2)) == {"r2": 20}


def test_a_reload_right_after_a_start_is_taken(tmp_path: Path, replicas: Replicas) -> None:
    """The master starts itself anew when its worker is there; here that takes a second."""
    slow = tmp_path / "haproxy"
    slow.write_text(_SLOW_MASTER.format(python=sys.executable, haproxy=str(find_haproxy(None))))
    slow.chmod(0o700)
    proxy = Proxy(tmp_path / "gateway", slow)
    gateway = gateway_of(*replicas(0.0))
    proxy.start(gateway)
    try:
        worker = proxy._worker()
        proxy.reload(gateway)
        assert proxy._worker() != worker
    finally:
        proxy.stop()


_SLOW_MASTER = """#!{python}
import os, sys, time
if "HAPROXY_MWORKER_WAIT_ONLY" in os.environ:
    time.sleep(1)
os.execv({haproxy!r}, sys.argv)
"""


def test_a_cold_start_forgets_what_servers_were_told(proxy: Proxy, replicas: Replicas) -> None:
    """An old drain would else last for ever."""
    gateway = gateway_of(*replicas(0.0, 0.0))
    proxy.start(gateway)
    proxy.drain("m", "r0")
    proxy.reload(gateway)
    proxy.stop()
    proxy.start(gateway)
    assert by_server(Offer(port=gateway.port).in_turn(20, 1)) == {"r0": 10, "r1": 10}


def test_an_unused_place_gets_a_replica_while_it_runs(proxy: Proxy, replicas: Replicas) -> None:
    """It starts in maintenance; with an address and made ready it takes its part."""
    one, two = replicas(0.0, 0.0)
    gateway = gateway_of(one)
    (backend,) = gateway.backends
    servers = (*backend.servers, Server(name="slot", port=free_port(), enabled=False))
    gateway = replace(gateway, backends=(replace(backend, servers=servers),))
    proxy.start(gateway)
    assert by_server(Offer(port=gateway.port).in_turn(20, 1)) == {"r0": 20}
    proxy.address("m", "slot", two.port)
    proxy.ready("m", "slot")
    wait_for(proxy, "slot", "UP")
    assert by_server(Offer(port=gateway.port).in_turn(20, 1)) == {"r0": 10, "slot": 10}


def test_what_is_in_flight_is_answered_before_the_end(proxy: Proxy, replicas: Replicas) -> None:
    """A stop waits for it, and leaves no process and no socket behind."""
    gateway = gateway_of(*replicas(0.5))
    proxy.start(gateway)
    group, replies = proxy.pid, list[Reply]()
    sender = threading.Thread(
        target=lambda: replies.extend(Offer(port=gateway.port).in_turn(4, callers=4))
    )
    sender.start()
    while sum(in_flight(proxy)) < 4:
        time.sleep(0.01)
    proxy.stop()
    sender.join()
    assert {reply.status for reply in replies} == {200}
    assert not proxy.running
    assert not list(proxy.folder.glob("*.sock"))
    assert not [p for p in psutil.pids() if _group(p) == group]


def test_a_stop_does_not_wait_for_ever(proxy: Proxy, replicas: Replicas) -> None:
    """A replica that hangs is left after the time that was given."""
    gateway = gateway_of(*replicas(20.0), drain_seconds=0.3)
    proxy.start(gateway)
    sender = threading.Thread(target=lambda: Offer(port=gateway.port).in_turn(1, 1))
    sender.start()
    while not sum(in_flight(proxy)):
        time.sleep(0.01)
    began = time.monotonic()
    proxy.stop()
    sender.join()
    assert 0.25 < time.monotonic() - began < 3
    assert not proxy.running


def test_a_haproxy_that_was_killed_is_cleared_away_and_started_again(
    proxy: Proxy, replicas: Replicas
) -> None:
    """Its master is gone at once; its worker follows, and leaves the port. Its log is kept."""
    gateway = gateway_of(*replicas(0.0))
    proxy.start(gateway)
    assert proxy.pid is not None
    os.kill(proxy.pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while proxy.running:
        assert time.monotonic() < end
    proxy.stop()
    with proxy.log.open("a") as log:
        log.write("its last words\n")
    proxy.start(gateway)
    assert by_server(Offer(port=gateway.port).in_turn(5, 1)) == {"r0": 5}
    assert "its last words" in (proxy.folder / "haproxy.before.log").read_text()
    assert "its last words" not in proxy.log.read_text()


def test_what_waits_and_what_is_in_flight_is_told(proxy: Proxy, replicas: Replicas) -> None:
    """By model, for whoever decides about more replicas."""
    gateway = gateway_of(*replicas(0.3, 0.3), most_in_flight=2, queue_seconds=5.0)
    proxy.start(gateway)
    sender = threading.Thread(target=lambda: Offer(port=gateway.port).in_turn(7, callers=7))
    sender.start()
    end = time.monotonic() + 5
    while (sum(in_flight(proxy)), proxy.stats().queued["m"]) != (4, 3):
        assert time.monotonic() < end
    sender.join()
    assert (sum(in_flight(proxy)), proxy.stats().queued["m"]) == (0, 0)
    assert sum(server.requests for server in proxy.stats().servers) == 7


@pytest.mark.parametrize("which", ["port", "stats_port"])
def test_a_port_in_use_is_said_to_be_so(proxy: Proxy, which: str) -> None:
    """Before anything is started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"listens on 127.0.0.1:{taken}"):
            proxy.start(gateway_of(**{which: taken}))
    assert not proxy.running


def test_an_address_that_is_not_ours_is_said_to_be_so(proxy: Proxy) -> None:
    """Nobody else listens there; there is nothing to end."""
    with pytest.raises(GatewayFailed, match=r"cannot listen on 192\.0\.2\.1:\d+: .*assign"):
        proxy.start(gateway_of(host="192.0.2.1"))
    assert not proxy.running


def test_a_configuration_that_haproxy_refuses_is_not_taken(
    proxy: Proxy, replicas: Replicas
) -> None:
    """The reason is HAProxy's own; who runs goes on as before."""
    gateway = gateway_of(*replicas(0.0))
    nowhere = replace(gateway, tls=Path("/nowhere/gateway.pem"))
    with pytest.raises(GatewayFailed, match=r"unable to stat SSL certificate.*nowhere"):
        proxy.start(nowhere)
    proxy.start(gateway)
    with pytest.raises(GatewayFailed, match="refuses its configuration"):
        proxy.reload(nowhere)
    assert by_server(Offer(port=gateway.port).in_turn(5, 1)) == {"r0": 5}


def test_a_deep_folder_is_no_obstacle(tmp_path: Path, replicas: Replicas) -> None:
    """A socket's path may have 107 characters; a project's may have more."""
    folder = tmp_path / "/".join(["deep"] * 40)
    gateway = gateway_of(*replicas(0.0))
    proxy = Proxy(folder)
    proxy.start(gateway)
    try:
        assert len(str(folder)) > 200
        assert by_server(Offer(port=gateway.port).in_turn(5, 1)) == {"r0": 5}
        proxy.reload(gateway)
    finally:
        proxy.stop()


def test_requests_are_logged_where_that_is_asked_for(proxy: Proxy, replicas: Replicas) -> None:
    """One of two here; by default none is."""
    gateway = gateway_of(*replicas(0.0), log_one_in=2)
    proxy.start(gateway)
    Offer(port=gateway.port, headers={"X-Request-Id": "mine"}).in_turn(20, 1)
    proxy.stop()
    lines = [line for line in proxy.log.read_text().splitlines() if "mine" in line]
    assert len(lines) == 10
    assert "m/r0 200" in lines[0]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
