"""How requests are spread over replicas, by HAProxy itself, held against each strategy's definition."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter

import pytest

from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer, Reply

from .conftest import Replicas, gateway_of

REQUESTS = 3000


def by_server(replies: tuple[Reply, ...]) -> Counter[str]:
    """Count replies by the server that gave them; all must be good ones."""
    assert {reply.status for reply in replies} == {200}
    return Counter(reply.headers["x-trivet-server"] for reply in replies)


def test_round_robin_gives_each_replica_the_same_number(proxy: Proxy, replicas: Replicas) -> None:
    """Whatever each of them takes for an answer."""
    gateway = gateway_of(*replicas(0.0, 0.0, 0.01), balance="round_robin")
    proxy.start(gateway)
    counts = by_server(Offer(port=gateway.port).in_turn(REQUESTS, callers=8))
    assert set(counts.values()) == {REQUESTS // 3}


def test_random_gives_each_replica_a_binomial_share(proxy: Proxy, replicas: Replicas) -> None:
    """Within four standard deviations, and not exactly the same, which would be no chance."""
    gateway = gateway_of(*replicas(0.0, 0.0, 0.01), balance="random")
    proxy.start(gateway)
    counts = by_server(Offer(port=gateway.port).in_turn(REQUESTS, callers=8))
    share = 1 / 3
    deviation = math.sqrt(REQUESTS * share * (1 - share))
    assert all(abs(count - REQUESTS * share) < 4 * deviation for count in counts.values())
    assert set(counts.values()) != {REQUESTS // 3}


def test_least_connections_asks_a_replica_with_the_fewest_in_flight(
    proxy: Proxy, replicas: Replicas
) -> None:
    """Each of 30 requests that stay under way goes where no other replica has fewer."""
    gateway = gateway_of(*replicas(2.0, 2.0, 2.0), balance="least_connections")
    proxy.start(gateway)

    async def one_by_one() -> list[list[int]]:
        offer, seen, tasks = Offer(port=gateway.port), [], []
        for number in range(30):
            tasks.append(asyncio.create_task(offer.send()))
            while sum(in_flight(proxy)) < number + 1:  # noqa: ASYNC110 - HAProxy tells nobody
                await asyncio.sleep(0.002)
            seen.append(in_flight(proxy))
        assert {reply.status for reply in await asyncio.gather(*tasks)} == {200}
        await offer.close()
        return seen

    for counts in asyncio.run(one_by_one()):
        assert max(counts) - min(counts) <= 1


def test_least_connections_gives_a_slow_replica_as_much_less_as_it_is_slower(
    proxy: Proxy, replicas: Replicas
) -> None:
    """At the same number in flight everywhere, answers are in inverse proportion to their time."""
    gateway = gateway_of(*replicas(0.01, 0.01, 0.08), balance="least_connections")
    proxy.start(gateway)
    counts = by_server(Offer(port=gateway.port).in_turn(REQUESTS, callers=12))
    fast = (counts["r0"] + counts["r1"]) / 2
    assert abs(counts["r0"] - counts["r1"]) < 0.05 * fast
    assert 4 < fast / counts["r2"] < 12


@pytest.mark.parametrize("balance", ["round_robin", "least_connections", "random"])
def test_a_replica_that_is_not_ready_gets_nothing(
    proxy: Proxy, replicas: Replicas, balance: str
) -> None:
    """The others share its part."""
    one, other = replicas(0.0, 0.0)
    gateway = gateway_of(one, other, balance=balance)
    proxy.start(gateway)
    Offer(port=one.port, path="/unready").in_turn(1, 1)
    wait_for(proxy, "r0", "DOWN")
    counts = by_server(Offer(port=gateway.port).in_turn(200, callers=4))
    assert counts == {"r1": 200}


def in_flight(proxy: Proxy) -> list[int]:
    """Return what each server has under way."""
    return [server.in_flight for server in proxy.stats().servers]


def wait_for(proxy: Proxy, server: str, state: str) -> None:
    """Wait until HAProxy has found a server in a state."""
    end = time.monotonic() + 20
    while {one.server: one.state for one in proxy.stats().servers}[server] != state:
        assert time.monotonic() < end
        time.sleep(0.02)
