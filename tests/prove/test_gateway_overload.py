"""Three replicas get twice of what they can bear for half a minute, behind HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from overload import overload
from replica import Replica, free_port
from trivet.gateway.configuration import Backend, Balance, Gateway, Server
from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]

SECONDS = 30.0


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    """Start three whose model waits 5 ms, one request at a time."""
    with ExitStack() as stack:
        names = ("a", "b", "c")
        yield [
            stack.enter_context(Replica(name=name, folder=tmp_path, delay=0.005, at_once=1))
            for name in names
        ]


@pytest.mark.parametrize("balance", ["round_robin", "least_connections", "random"])
def test_half_a_minute_of_overload_costs_no_more_than_its_excess(
    tmp_path: Path, replicas: list[Replica], balance: Balance, record_property
) -> None:
    """Goodput, p99 of what is accepted, and recovery, for each strategy."""
    servers = tuple(Server(name=one.name, port=one.port) for one in replicas)
    backend = Backend(
        model="m", servers=servers, balance=balance, most_in_flight=1, queue_seconds=0.05
    )
    gateway = Gateway(port=free_port(), stats_port=free_port(), backends=(backend,))
    proxy = Proxy(tmp_path / "gateway")
    proxy.start(gateway)
    try:
        found = overload(Offer(port=gateway.port), places=3, seconds=SECONDS)
    finally:
        proxy.stop()
    record_property("figures", found.figures)
    assert found.goodput >= 0.7 * found.peak, found.figures
    assert found.p99_ms < 250, found.figures
    assert found.recovered_seconds < 5, found.figures
    assert {reply.status for reply in found.refused} == {503}
