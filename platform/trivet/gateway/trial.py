"""Each way of balancing tried on replicas that run: who gets how much, and how long answers take.

A temporary HAProxy stands in front of them for each strategy in turn, so that the gateway that is in
use goes on untouched. The same is done with one replica made slow: the way to it leads through a
second HAProxy that holds each request for a moment; the replica itself is as it is.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from trivet.gateway.configuration import Backend, Balance, Gateway, Server
from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer, Reply, quantile

PICTURE, DOCUMENT = "balance.png", "balance.json"
BALANCES: tuple[Balance, ...] = get_args(Balance)
REQUEST_ID = "trivet-report-balance"
"""Under which the requests of a trial stand in the prediction log."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is sent for each strategy."""

    body: bytes
    path: str = "/predict"
    requests: int = 900
    rate: float = 150.0
    """Requests a second."""
    slow_ms: float = 60.0
    """By how much the slow replica's way is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One strategy on equal replicas, or on those of which the last one is slow."""

    balance: Balance
    equal: bool
    requests: Mapping[str, int]
    """Answers by replica."""
    failed: int
    """Requests without an answer of 200."""
    milliseconds: tuple[float, ...]
    """Of the answers of 200, from the moment at which each was due."""
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceReport:
    """What `balance.json` holds, but for the single times; the picture lies beside it."""

    model: str
    at: datetime
    rate: float
    slow_ms: float
    replicas: tuple[str, ...]
    tried: tuple[Tried, ...]
    picture: Path


def write_balance_report(
    model: str,
    replicas: Sequence[Server],
    traffic: Traffic,
    *,
    folder: Path,
    at: datetime,
    say: Say = lambda _: None,
) -> BalanceReport:
    """Try every strategy on replicas, draw what came of it, and write the numbers beside it.

    Args:
        model: whose replicas they are.
        replicas: at least two, by name and address; the last one is the one made slow.
        traffic: what each strategy gets.
        folder: gets `balance.png` and `balance.json`; made where it does not exist.
        at: now.
        say: is told what is under way.

    Raises:
        GatewayBinaryMissing: there is no HAProxy.
        GatewayFailed: it does not start.
    """
    from trivet.gateway.trial_picture import draw

    folder.mkdir(parents=True, exist_ok=True)
    report = BalanceReport(
        model=model,
        at=at,
        rate=traffic.rate,
        slow_ms=traffic.slow_ms,
        replicas=tuple(server.name for server in replicas),
        tried=tuple(try_all(model, replicas, traffic, say)),
        picture=folder / PICTURE,
    )
    draw(report).savefig(report.picture, dpi=160)
    (folder / DOCUMENT).write_text(json.dumps(as_document(report), indent=2, default=str) + "\n")
    return report


def as_document(report: BalanceReport) -> dict[str, object]:
    """Return a report for JSON: its numbers without the time of each request."""
    document = asdict(report)
    for tried in document["tried"]:
        del tried["milliseconds"]
    return document


def try_all(model: str, replicas: Sequence[Server], traffic: Traffic, say: Say) -> Iterator[Tried]:
    """Try every strategy, first on the replicas as they are, then with the last one slow."""
    folder = Path(tempfile.mkdtemp(prefix="trivet-balance-"))
    try:
        for equal in (True, False):
            with _ways(model, replicas, traffic, folder, equal=equal) as servers:
                for balance in BALANCES:
                    say(f"{balance}, {'equal replicas' if equal else 'one of them slow'}")
                    yield _try(model, servers, balance, traffic, folder, equal=equal)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ways(
    model: str, replicas: Sequence[Server], traffic: Traffic, folder: Path, *, equal: bool
) -> Iterator[tuple[Server, ...]]:
    """Give the addresses to balance over: the replicas', or for the last one that of its slow way."""
    if equal:
        yield tuple(replicas)
        return
    slow = replicas[-1]
    port, stats_port = _ports()
    gateway = Gateway(
        port=port,
        stats_port=stats_port,
        backends=(Backend(model=model, servers=(slow,), most_in_flight=1000),),
        delay_seconds=traffic.slow_ms / 1000,
    )
    with _started(folder / "slow", gateway):
        yield (*replicas[:-1], Server(name=slow.name, port=gateway.port))


def _try(
    model: str,
    servers: tuple[Server, ...],
    balance: Balance,
    traffic: Traffic,
    folder: Path,
    *,
    equal: bool,
) -> Tried:
    backend = Backend(model=model, servers=servers, balance=balance, queue_seconds=30.0)
    port, stats_port = _ports()
    gateway = Gateway(port=port, stats_port=stats_port, backends=(backend,), tells_server=True)
    offer = Offer(
        port=gateway.port,
        path=traffic.path,
        body=traffic.body,
        headers={"X-Request-Id": REQUEST_ID},
    )
    with _started(folder / balance, gateway):
        # Connections are made, and replicas woken, outside of what is counted.
        offer.at_rate(traffic.rate, max(10, traffic.requests // 10), seed=2)
        replies = offer.at_rate(traffic.rate, traffic.requests)
    return _tried(servers, balance, replies, equal=equal)


def _tried(
    servers: tuple[Server, ...], balance: Balance, replies: tuple[Reply, ...], *, equal: bool
) -> Tried:
    good = [reply for reply in replies if reply.status == 200]  # noqa: PLR2004 - HTTP's
    counts = Counter(reply.headers["x-trivet-server"] for reply in good)
    times = tuple(reply.milliseconds for reply in good)
    p50, p95, p99 = (quantile(times or (0.0,), share) for share in (0.50, 0.95, 0.99))
    return Tried(
        balance=balance,
        equal=equal,
        requests={server.name: counts[server.name] for server in servers},
        failed=len(replies) - len(good),
        milliseconds=times,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


@contextmanager
def _started(folder: Path, gateway: Gateway) -> Iterator[Proxy]:
    with ExitStack() as stack:
        proxy = Proxy(folder)
        proxy.start(gateway)
        stack.callback(proxy.stop)
        yield proxy


def _ports() -> tuple[int, int]:
    """Return two free ports of loopback."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
