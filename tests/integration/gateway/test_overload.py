"""Work beyond capacity is refused, and what is accepted is answered, once."""

from __future__ import annotations

import socket
import time
from collections import Counter

from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer

from .conftest import Replicas, gateway_of


def test_what_is_refused_is_not_computed_and_what_is_computed_is_answered(
    proxy: Proxy, replicas: Replicas
) -> None:
    """A hundred callers who come again at once, two places: most get none within the queue's time.

    That is so however slow the machine; how many are answered, and how fast, is in `tests/prove`.
    """
    two = replicas(0.005, 0.005, at_once=1)
    gateway = gateway_of(*two, most_in_flight=1, queue_seconds=0.05)
    proxy.start(gateway)
    replies = Offer(port=gateway.port).in_turn(4000, callers=100)
    good, refused = (
        [r for r in replies if (r.status == 200) is is_good] for is_good in (True, False)
    )
    assert {reply.status for reply in refused} == {503}
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert {reply.headers["x-trivet-replica"] for reply in good} == {"r0", "r1"}
    computed = two[0].events("computed") + two[1].events("computed")
    assert computed == Counter(reply.headers["x-request-id"] for reply in good)
    assert set(computed.values()) == {1}
    # Nothing of it is left: one caller finds a place at once.
    assert proxy.stats().queued["m"] == 0
    after = Offer(port=gateway.port).in_turn(50, callers=1)
    assert {reply.status for reply in after} == {200}


def test_who_gives_up_in_the_queue_is_not_computed_for(proxy: Proxy, replicas: Replicas) -> None:
    """Callers with a deadline go; what they asked for would only take the place of others."""
    (one,) = replicas(0.4)
    gateway = gateway_of(one, most_in_flight=1, queue_seconds=10.0)
    proxy.start(gateway)
    callers = []
    for number in range(4):
        caller = socket.create_connection(("127.0.0.1", gateway.port))
        head = f"POST /predict HTTP/1.1\r\nHost: m\r\nX-Request-Id: {number}\r\n"
        caller.sendall(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
        callers.append(caller)
        time.sleep(0.03)
    assert proxy.stats().queued["m"] == 3
    callers[1].close()
    callers[2].close()
    for caller in (callers[0], callers[3]):
        assert b" 200 " in caller.recv(1000)
        caller.close()
    assert set(one.events("computed")) == {"0", "3"}
