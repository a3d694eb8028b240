"""The benchmarks' command line; the Makefile's targets call it.

    python -m benchmarks.serving usual      # make bench
    python -m benchmarks.serving peers      # make bench-peers
    python -m benchmarks.serving growth     # make bench-growth
    python -m benchmarks.serving page       # the figures of the last runs into docs/benchmarks.md

BENCH_QUICK=1 makes a smoke run of it: fewer contenders, two short rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving import others, results
from benchmarks.serving.compare import Compared, Stage, compare, settings
from benchmarks.serving.footprint import measure_pyfunc, measure_starts
from benchmarks.serving.load import CONNECTIONS, wrk
from benchmarks.serving.many_rows import measure_many_rows
from benchmarks.serving.peers import peers, pinned_versions
from benchmarks.serving.project import REPOSITORY, SQLITE, Project, redis_store
from benchmarks.serving.publish import KINDS, REPORTS, fill_page, publish
from benchmarks.serving.results import Results
from benchmarks.serving.rounds import Effort
from benchmarks.serving.store import redis_server
from benchmarks.serving.targets import judge

QUICK = bool(os.environ.get("BENCH_QUICK"))
_OPEN_LOOP = ("limit", "trivet-value", "trivet-redis-warm", "trivet-redis-off", "trivet-sqlite-off")
_BEGAN = time.perf_counter()


def say(what: str) -> None:
    """Say on standard error what is under way, and since when."""
    sys.stderr.write(f"[{time.perf_counter() - _BEGAN:5.0f} s] {what}\n")
    sys.stderr.flush()


def effort(rounds: int | None, seconds: float | None) -> Effort:
    """Return how long to measure: five rounds of three seconds, or a smoke run's two of one."""
    return Effort(rounds=rounds or (2 if QUICK else 5), seconds=seconds or (1.0 if QUICK else 3.0))


@contextmanager
def stage(chosen: Effort) -> Iterator[Stage]:
    """Make the projects on SQLite and on Redis in a temporary folder, for as long as the run lasts."""
    with tempfile.TemporaryDirectory(prefix="trivet-bench-") as name:
        folder = Path(name)
        with redis_server(folder / "redis-server") as (port, process):
            say("making the projects on SQLite and Redis")
            wanted = {
                "sqlite": (SQLITE, ("forest",) if QUICK else ("forest", "forest_by_key")),
                "redis": (redis_store(port), ("forest_by_key",)),
            }
            with ThreadPoolExecutor() as pool:
                making = {
                    store: pool.submit(Project.make, folder / store, online=online, models=models)
                    for store, (online, models) in wanted.items()
                }
            made = {store: future.result() for store, future in making.items()}
            yield Stage(**made, redis_process=process, folder=folder, effort=chosen, say=say)


def run_usual(stage: Stage) -> dict[str, object]:
    """Measure all that `make bench` does."""
    choose = others.quick if QUICK else others.usual
    several = settings(1 if QUICK else 2)
    compared = [compare(stage, setting, choose, _OPEN_LOOP) for setting in several]
    stores = ("redis",) if QUICK else ("redis", "sqlite")
    alone = several[0]
    many = [row for store in stores for row in measure_many_rows(stage, alone, store)]
    memory = [memory for memory in compared[0].memory if memory.name.startswith("trivet")]
    if not QUICK:
        memory += measure_pyfunc(stage, alone)
    start = [] if QUICK else measure_starts(stage, several[-1])
    return {**_joined(compared), "many_rows": many, "memory": memory, "start": start}


def run_peers(stage: Stage) -> dict[str, object]:
    """Measure those that have environments of their own, beside some that have not."""
    several = settings(1 if QUICK else 2)
    return _joined([compare(stage, setting, peers, ()) for setting in several])


def _joined(compared: list[Compared]) -> dict[str, object]:
    return {
        "throughput": [row for part in compared for row in part.throughput],
        "open_loop": [row for part in compared for row in part.open_loop],
    }


def run(kind: str, chosen: Effort) -> Results:
    """Run one of the kinds, and write its document, tables and pictures."""
    wrk()
    load = os.getloadavg()[0]
    versions = results.these_versions() | (pinned_versions() if kind == "peers" else {})
    if kind == "growth":
        from benchmarks.serving.growth import grow

        found: dict[str, object] = {"curves": grow(chosen, quick=QUICK, say=say)}
    else:
        with stage(chosen) as prepared:
            found = {"usual": run_usual, "peers": run_peers}[kind](prepared)
    document = Results.model_validate(
        {
            "made_at": datetime.now(UTC),
            "quick": QUICK,
            "seconds": chosen.seconds,
            "connections": CONNECTIONS,
            "machine": results.this_machine(load),
            "versions": versions,
            **found,
        }
    )
    document = document.model_copy(update={"targets": judge(document)})
    publish(kind, document)
    say(f"written: {(REPORTS / kind).relative_to(REPOSITORY)}.json, .md and pictures")
    return document


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("kind", choices=(*KINDS, "page"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    options = parser.parse_args()
    if options.kind == "page":
        fill_page()
        return
    run(options.kind, effort(options.rounds, options.seconds))
    sys.stdout.write((REPORTS / f"{options.kind}.md").read_text())


if __name__ == "__main__":
    main()
