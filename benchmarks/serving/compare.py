"""One comparison: everybody with one worker on a core of its own, then everybody with two on all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.serving.contenders import Contender, Place
from benchmarks.serving.load import Generator, Load
from benchmarks.serving.openloop import Latencies
from benchmarks.serving.project import Project
from benchmarks.serving.results import Memory, OpenLoop, Spread, Throughput, ratios
from benchmarks.serving.rounds import Effort, Turns, turn
from benchmarks.serving.servers import pss_mib, rss_mib, running
from benchmarks.serving.store import bind

LIMIT = "limit"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A number of workers, and who may run where."""

    workers: int
    server_core: int | None
    generator: Generator

    @property
    def pinned(self) -> bool:
        """Whether the generator has a core of its own."""
        return self.server_core is not None


def settings(most: int = 2) -> list[Setting]:
    """One worker beside its generator, then two workers and the generator on all cores."""
    cores = os.cpu_count() or 1
    apart = Generator(core=1 if cores > 1 else None, threads=1)
    alone = Setting(workers=1, server_core=0 if cores > 1 else None, generator=apart)
    every = Setting(workers=2, server_core=None, generator=Generator(core=None, threads=2))
    return [alone, every][:most]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all comparisons of a run share."""

    sqlite: Project
    redis: Project
    redis_process: psutil.Process
    folder: Path
    effort: Effort
    say: Say

    def place(self, setting: Setting) -> Place:
        """Say where the servers of a setting run; the store's core is the generator's.

        A store is another machine, as a rule: what it takes is not the server's.
        """
        bind(self.redis_process, setting.generator.core)
        return Place(
            sqlite=self.sqlite,
            redis=self.redis,
            workers=setting.workers,
            core=setting.server_core,
            logs=self.folder,
        )

    def turns(self, contenders: Sequence[Contender]) -> Turns:
        """Prepare the requests of contenders."""
        artifacts = self.sqlite.artifacts
        rows, labels = np.load(artifacts / "rows.npy"), np.load(artifacts / "labels.npy")
        return Turns(contenders, rows, labels, self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What one setting gave."""

    throughput: list[Throughput]
    open_loop: list[OpenLoop]
    memory: list[Memory]


def compare(
    stage: Stage,
    setting: Setting,
    choose: Callable[[Place], list[Contender]],
    open_loop: Sequence[str],
) -> Compared:
    """Measure everybody's throughput, then some at half of their own peak, and their memory."""
    contenders = choose(stage.place(setting))
    stage.say(f"{setting.workers} worker(s): starting {len(contenders)} contenders")
    with running([server for contender in contenders for server in contender.servers]):
        turns = stage.turns(contenders)
        turns.verify()
        stage.say(f"{setting.workers} worker(s): closed loop")
        closed = turns.closed(setting.generator, stage.effort)
        peaks = {
            name: Spread.of([load.per_second for load in x]).median for name, x in closed.items()
        }
        rates = {name: peaks[name] / 2 for name in open_loop if name in peaks}
        stage.say(f"{setting.workers} worker(s): open loop at half of the peak")
        opened = turns.open(setting.generator, stage.effort, rates) if rates else {}
        memory = _memories(contenders)
    titles = {contender.name: contender.title for contender in contenders}
    return Compared(
        throughput=[_throughput(n, t, setting, closed) for n, t in titles.items()],
        open_loop=[_open_loop(n, titles[n], setting, found) for n, found in opened.items()],
        memory=memory,
    )


def _throughput(
    name: str, title: str, setting: Setting, closed: dict[str, list[Load]]
) -> Throughput:
    loads = closed[name]
    rates = [load.per_second for load in loads]
    bare = [load.per_second for load in closed.get(LIMIT, [])]
    return Throughput(
        name=name,
        title=title,
        workers=setting.workers,
        pinned=setting.pinned,
        rows=1,
        rates=tuple(round(rate, 1) for rate in rates),
        per_second=Spread.of(rates),
        p50_ms=Spread.of([load.p50_ms for load in loads]),
        p99_ms=Spread.of([load.p99_ms for load in loads]),
        of_limit=ratios(rates, bare) if bare else None,
    )


def _open_loop(name: str, title: str, setting: Setting, found: list[Latencies]) -> OpenLoop:
    return OpenLoop(
        name=name,
        title=title,
        workers=setting.workers,
        pinned=setting.pinned,
        rate=round(found[0].rate, 1),
        p50_ms=Spread.of([run.p50_ms for run in found]),
        p99_ms=Spread.of([run.p99_ms for run in found]),
        max_ms=Spread.of([run.max_ms for run in found]),
        generator_late_p99_ms=Spread.of([run.late_p99_ms for run in found]),
        generator_cpu_share=Spread.of([run.cpu_share for run in found]),
    )


def _memories(contenders: Sequence[Contender]) -> list[Memory]:
    return [memory for contender in contenders for memory in worker_memory(contender)]


def worker_memory(contender: Contender) -> list[Memory]:
    """Return the memory of a worker of each of its servers."""
    found = []
    with turn(contender):
        for server in contender.servers:
            worker = server.worker()
            title = contender.title if len(contender.servers) == 1 else server.name
            figures = {"pss_mib": round(pss_mib(worker), 1), "rss_mib": round(rss_mib(worker), 1)}
            found.append(Memory(name=server.name, title=title, **figures))
    return found
