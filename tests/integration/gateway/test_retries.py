"""What is sent a second time, and what is not: counted by the replicas themselves."""

from __future__ import annotations

import threading
import time
from collections import Counter

from replica import Replica, events
from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer, Reply

from .conftest import Replicas, gateway_of


def test_a_replica_that_is_killed_loses_nothing_and_repeats_nothing_answered(
    proxy: Proxy, replicas: Replicas
) -> None:
    """Under 300 requests a second, each of its own id, one of three is killed and started again."""
    three = replicas(0.01, 0.01, 0.01)
    gateway = gateway_of(*three)
    proxy.start(gateway)
    killer = threading.Thread(target=_kill_and_start, args=(three[1],))
    killer.start()
    replies = Offer(port=gateway.port).at_rate(300, 1200)
    killer.join()
    assert Counter(reply.status for reply in replies) == {200: 1200}
    computed, answered = events(three, "computed"), events(three, "answered")
    ids = Counter(reply.headers["x-request-id"] for reply in replies)
    assert set(ids.values()) == {1}
    # One that was killed between giving an answer and writing that down has written one too few.
    assert len(set(ids) - set(answered)) <= 1
    assert set(ids) <= set(computed)
    assert max(answered.values()) == 1
    # Whoever was computed twice was so because its first answer never left the replica.
    assert all(computed[one] - answered[one] <= 1 for one in computed)


def test_an_applications_500_is_an_answer(proxy: Proxy, replicas: Replicas) -> None:
    """It is passed on, computed once, and takes no replica out of service."""
    three = replicas(0.0, 0.0, 0.0)
    gateway = gateway_of(*three)
    proxy.start(gateway)
    replies = Offer(port=gateway.port, path="/m/fail").in_turn(60, callers=3)
    assert Counter(reply.status for reply in replies) == {500: 60}
    assert sum(events(three, "computed").values()) == 60
    assert {(one.state[:2], one.downs, one.retried) for one in proxy.stats().servers} == {
        ("UP", 0, 0)
    }


def test_a_replica_that_takes_too_long_is_not_doubled(proxy: Proxy, replicas: Replicas) -> None:
    """It may be at it still: the caller gets a 504, and nobody else is asked."""
    two = replicas(1.0, 1.0)
    gateway = gateway_of(*two, answer_seconds=0.2)
    proxy.start(gateway)
    (reply,) = Offer(port=gateway.port).in_turn(1, 1)
    assert reply.status == 504
    assert reply.headers["content-type"] == "application/problem+json"
    time.sleep(1.2)
    assert sum(events(two, "computed").values()) == 1


def test_a_request_is_tried_at_three_replicas_at_most(proxy: Proxy, replicas: Replicas) -> None:
    """One that kills whoever computes it must not kill them all."""
    four = replicas(30.0, 30.0, 30.0, 30.0)
    gateway = gateway_of(*four)
    proxy.start(gateway)
    replies: list[Reply] = []
    caller = threading.Thread(target=lambda: replies.extend(Offer(port=gateway.port).in_turn(1, 1)))
    caller.start()
    killed: list[str] = []
    for _ in range(3):
        killed.append(_who_has_it(proxy, killed))
        four[int(killed[-1][1:])].kill()
    caller.join()
    assert replies[0].status == 502
    assert replies[0].headers["retry-after"] == "1"


def test_nothing_is_lost_when_a_replica_is_drained(proxy: Proxy, replicas: Replicas) -> None:
    """It finishes what it has, gets nothing new, and may then be ended."""
    two = replicas(0.02, 0.02)
    gateway = gateway_of(*two)
    proxy.start(gateway)
    ended = threading.Thread(target=_drain_and_kill, args=(proxy, two[0]))
    ended.start()
    replies = Offer(port=gateway.port).at_rate(200, 600)
    ended.join()
    assert Counter(reply.status for reply in replies) == {200: 600}
    # By what callers have, and not by what the one that is killed has noted of its answers by then.
    ids = Counter(reply.headers["x-request-id"] for reply in replies)
    assert events(two, "computed") == ids
    assert set(ids.values()) == {1}
    assert two[0].events("computed").total() > 0
    assert {(one.retried, one.redispatched) for one in proxy.stats().servers} == {(0, 0)}


def _kill_and_start(replica: Replica) -> None:
    time.sleep(1)
    replica.kill()
    time.sleep(0.5)
    replica.start()


def _drain_and_kill(proxy: Proxy, replica: Replica) -> None:
    time.sleep(0.7)
    proxy.drain("m", replica.name)
    # As a supervisor does: a request may be on its way while HAProxy is told.
    time.sleep(0.5)
    while next(one for one in proxy.stats().servers if one.server == replica.name).in_flight:
        time.sleep(0.01)
    replica.kill()


def _who_has_it(proxy: Proxy, before: list[str]) -> str:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for one in proxy.stats().servers:
            if one.in_flight and one.server not in before:
                return one.server
        time.sleep(0.01)
    raise AssertionError("the request is nowhere")
