"""Arrangements by turns, each with its processor time: the replicas', the proxy's, the generator's."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.gateway.arrangements import Arrangement, arrangements, its_turn
from benchmarks.gateway.found import Row
from benchmarks.serving.contenders import Place
from benchmarks.serving.load import Generator, Load
from benchmarks.serving.openloop import Latencies
from benchmarks.serving.project import Project
from benchmarks.serving.results import Spread, ratios
from benchmarks.serving.rounds import Effort, Turns
from benchmarks.serving.servers import running

CALM = 0.3
"""Share of the slowest rate of an app that its open loop is run at."""
Say = Callable[[str], None]


@dataclass(slots=True)
class Spent:
    """Processor seconds between two moments."""

    servers: float = 0.0
    proxy: float = 0.0
    generator: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """One closed loop, and the cores that were taken meanwhile."""

    load: Load
    spent: Spent


@dataclass(slots=True)
class Measured:
    """What the rounds have given for one arrangement."""

    closed: list[Closed] = field(default_factory=list)
    calm: list[Latencies] = field(default_factory=list)


def measure(project: Project, folder: Path, effort: Effort, *, most: int, say: Say) -> list[Row]:
    """Measure all arrangements by turns: a closed loop each, then an open loop far below it."""
    place = Place(sqlite=project, redis=project, workers=1, core=None, logs=folder)
    chosen = arrangements(place, most=most)
    servers = list({id(s): s for one in chosen for s in one.replicas}.values())
    rows, labels = (
        np.load(project.artifacts / "rows.npy"),
        np.load(project.artifacts / "labels.npy"),
    )
    say(f"starting {len(servers)} servers")
    with running(servers):
        turns = Turns(chosen, rows, labels, folder)
        found = {one.name: Measured() for one in chosen}
        generator = Generator(core=None, threads=1)
        for _, one in _by_turns(chosen, effort.rounds, "closed loop", say):
            with its_turn(one, folder) as proxy:
                requests = turns.requests(one)
                generator.warm(one, requests)
                with _spending(one, proxy) as spent:
                    load = generator.closed(one, requests, effort.seconds)
                found[one.name].closed.append(Closed(load=load, spent=spent))
        rates = _calm_rates(chosen, found)
        for number, one in _by_turns(chosen, effort.rounds, "open loop", say):
            with its_turn(one, folder):
                requests, rate = turns.requests(one), rates[one.app]
                generator.open(one, requests, 0.5, rate=rate, seed=100 + number)
                calm = generator.open(one, requests, effort.seconds, rate=rate, seed=number)
                found[one.name].calm.append(calm)
    return [_row(one, found, rates[one.app]) for one in chosen]


def _by_turns(
    chosen: Sequence[Arrangement], rounds: int, what: str, say: Say
) -> Iterator[tuple[int, Arrangement]]:
    """Go through all in each round, and begin each round with another one."""
    for number in range(rounds):
        say(f"{what}, round {number + 1} of {rounds}")
        first = number % len(chosen)
        for one in (*chosen[first:], *chosen[:first]):
            yield number, one


def _calm_rates(chosen: Sequence[Arrangement], found: dict[str, Measured]) -> dict[str, float]:
    """Return a rate for each app that all its arrangements can bear."""
    rates: dict[str, float] = {}
    for one in chosen:
        slowest = min(run.load.per_second for run in found[one.name].closed)
        rates[one.app] = min(rates.get(one.app, np.inf), CALM * slowest)
    return rates


@contextmanager
def _spending(one: Arrangement, proxy: psutil.Process | None) -> Iterator[Spent]:
    """Take the processor time of everybody that is spent inside the block."""
    spent = Spent()
    replicas = [process for server in one.replicas for process in server.processes()]
    proxies = [] if proxy is None else [proxy, *proxy.children(recursive=True)]
    began = _seconds(replicas), _seconds(proxies), _children()
    yield spent
    spent.servers = _seconds(replicas) - began[0]
    spent.proxy = _seconds(proxies) - began[1]
    spent.generator = _children() - began[2]


def _seconds(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _children() -> float:
    """Return what children that have ended took: of those, inside a turn, there is the generator."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _row(one: Arrangement, found: dict[str, Measured], rate: float) -> Row:
    mine = found[one.name]
    loads = [run.load for run in mine.closed]
    rates = [load.per_second for load in loads]
    direct = found[f"{one.app}-1x1-direct"].closed
    through = one.gateway is not None
    return Row(
        name=one.name,
        app=one.app,
        replicas=len(one.replicas),
        workers=one.workers,
        through=through,
        per_second=Spread.of(rates),
        p50_ms=Spread.of([load.p50_ms for load in loads]),
        p99_ms=Spread.of([load.p99_ms for load in loads]),
        of_direct=ratios(rates, [run.load.per_second for run in direct]) if through else None,
        calm_rate=round(rate, 1),
        calm_p50_ms=Spread.of([run.p50_ms for run in mine.calm]),
        calm_p99_ms=Spread.of([run.p99_ms for run in mine.calm]),
        server_cores=Spread.of([run.spent.servers / run.load.seconds for run in mine.closed]),
        proxy_cores=Spread.of([run.spent.proxy / run.load.seconds for run in mine.closed]),
        generator_cores=Spread.of([run.spent.generator / run.load.seconds for run in mine.closed]),
    )
