"""What callers notice of a replica that is slow or hangs."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from matplotlib.image import imread

from integration.gateway.conftest import Replicas, gateway_of
from replica import Replica, events
from trivet.gateway.configuration import Server
from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer, quantile
from trivet.gateway.trial import BALANCES, BalanceReport, Traffic, write_balance_report

pytestmark = pytest.mark.quiet


@pytest.fixture
def report(replicas: Replicas, tmp_path: Path) -> BalanceReport:
    """Try them on three equal replicas, 150 requests each."""
    servers = [Server(name=one.name, port=one.port) for one in replicas(0.002, 0.002, 0.002)]
    traffic = Traffic(body=b"{}", requests=150, rate=150, slow_ms=100)
    return write_balance_report(
        "m", servers, traffic, folder=tmp_path / "report", at=datetime(2026, 1, 1, tzinfo=UTC)
    )


def test_each_strategy_is_tried_on_equal_and_on_unequal_replicas(report: BalanceReport) -> None:
    """Every request is answered; who is slow is so under every strategy, and gets less under one."""
    assert [(one.balance, one.equal) for one in report.tried] == [
        (balance, equal) for equal in (True, False) for balance in BALANCES
    ]
    found = {(one.balance, one.equal): one for one in report.tried}
    assert all(one.failed == 0 and sum(one.requests.values()) == 150 for one in report.tried)
    for equal in (True, False):
        assert found["round_robin", equal].requests == {"r0": 50, "r1": 50, "r2": 50}
    assert found["least_connections", False].requests["r2"] < 35
    for balance in BALANCES:
        assert found[balance, False].p99_ms > 100
        assert found[balance, True].p50_ms < 60
    picture, document = report.picture, report.picture.parent / "balance.json"
    assert imread(picture).shape[1] > 1500
    assert len(json.loads(document.read_text())["tried"]) == 6
    left = [p for p in psutil.process_iter(["cmdline"]) if _ours(p, "trivet-balance-")]
    assert not left


def test_a_cap_and_least_connections_keep_a_slow_replica_from_the_tail(
    proxy: Proxy, replicas: Replicas
) -> None:
    """At a rate that is more than its third can bear, p95 is below half of round robin's."""
    fast_1, fast_2, slow = replicas(0.005, 0.005, 0.0)
    slow.kill()
    with Replica(name="slow", folder=slow.folder, delay=0.03, at_once=1) as slow:
        p95 = {}
        for balance, cap in (("round_robin", 64), ("least_connections", 2)):
            gateway = gateway_of(
                fast_1, fast_2, slow, balance=balance, most_in_flight=cap, queue_seconds=5.0
            )
            proxy.start(gateway)
            replies = Offer(port=gateway.port).at_rate(180, 1200)
            assert {reply.status for reply in replies} == {200}
            p95[balance] = quantile([reply.milliseconds for reply in replies], 0.95)
            proxy.stop()
    assert p95["least_connections"] < p95["round_robin"] / 2


def test_a_replica_that_hangs_holds_a_few_requests_and_loses_none(
    proxy: Proxy, replicas: Replicas
) -> None:
    """By least connections it gets no more once it has some; by its checks it is found in 2.5 s."""
    three = replicas(0.005, 0.005, 0.005)
    gateway = gateway_of(*three, balance="least_connections")
    proxy.start(gateway)
    downs: list[int] = []
    hanging = threading.Thread(target=_pause, args=(three[0], 3.5, proxy, downs))
    hanging.start()
    replies = Offer(port=gateway.port).at_rate(200, 1200)
    hanging.join()
    assert Counter(reply.status for reply in replies) == {200: 1200}
    assert downs == [1]
    assert sum(reply.milliseconds > 500 for reply in replies) < 24
    assert max(events(three, "computed").values()) == 1


def _ours(process: psutil.Process, word: str) -> bool:
    try:
        return process.name() == "haproxy" and word in process.cwd()
    except psutil.Error:
        return False


def _pause(replica: Replica, seconds: float, proxy: Proxy, downs: list[int]) -> None:
    time.sleep(1)
    replica.pause()
    time.sleep(seconds)
    downs.extend(one.downs for one in proxy.stats().servers if one.server == replica.name)
    replica.resume()
