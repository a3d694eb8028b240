"""Points of a curve: one contender each, or one request of another size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.serving.contenders import Contender
from benchmarks.serving.load import Generator, Load
from benchmarks.serving.results import Point, Spread
from benchmarks.serving.rounds import Effort, turn
from benchmarks.serving.servers import rss_mib, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One point of a curve."""

    x: float
    contender: Contender
    requests: Path
    times: int = 1
    """What is counted of each request: its rows, or itself."""


def measured(
    effort: Effort, cases: Sequence[Case], generator: Generator, *, loaded: int | None = None
) -> tuple[Point, ...]:
    """Measure the points of a curve by turns.

    Args:
        effort: rounds, and seconds of each measurement.
        cases: their servers are started together; one that several ask is started once.
        generator: asks them.
        loaded: so many versions are waited for, and the worker's memory with them is noted.
    """
    found: list[list[Load]] = [[] for _ in cases]
    memory = None
    with _up([case.contender for case in cases]):
        if loaded is not None:
            memory = _memory_with(cases[0].contender, loaded)
        for _ in range(effort.rounds):
            for case, loads in zip(cases, found, strict=True):
                with turn(case.contender):
                    generator.warm(case.contender, case.requests)
                    load = generator.closed(case.contender, case.requests, effort.seconds)
                    loads.append(load)
    return tuple(
        Point(
            x=case.x,
            per_second=Spread.of([case.times * load.per_second for load in loads]),
            p50_ms=Spread.of([load.p50_ms for load in loads]),
            memory_mib=memory,
        )
        for case, loads in zip(cases, found, strict=True)
    )


@contextmanager
def _up(contenders: Sequence[Contender]) -> Iterator[None]:
    """Run each server once, however many cases ask it."""
    servers = {server.port: server for contender in contenders for server in contender.servers}
    with running(list(servers.values())):
        yield


def _memory_with(contender: Contender, versions: int) -> float:
    """Wait until a worker has so many versions loaded, and return its resident memory."""
    server = contender.servers[0]
    with turn(contender):
        for version in range(1, versions + 1):
            url = f"http://127.0.0.1:{server.port}/versions/{version}/predict"
            _answers(url)
        return round(rss_mib(server.worker()), 1)


def _answers(url: str) -> None:
    """Wait until a version answers: until then it is not found."""
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(transport=transport, timeout=30) as client:
        for _ in range(600):
            status = client.post(url, content=b'{"instances": [{}]}').status_code
            if status == httpx.codes.UNPROCESSABLE_ENTITY:
                return
            time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer")
