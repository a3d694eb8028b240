"""The gateway's benchmark; the Makefile's target calls it.

    python -m benchmarks.gateway          # make bench-gateway: 6 minutes
    python -m benchmarks.gateway page     # the figures of the last run into docs/gateway-benchmarks.md

BENCH_QUICK=1 makes a smoke run of it: two rounds of one second, two replicas of one worker.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gateway.found import Found, read, write
from benchmarks.gateway.measuring import measure
from benchmarks.gateway.page import draw, fill_page, tables
from benchmarks.serving import results
from benchmarks.serving.__main__ import QUICK, effort, say
from benchmarks.serving.load import CONNECTIONS, wrk
from benchmarks.serving.project import REPOSITORY, SQLITE, Project
from benchmarks.serving.publish import REPORTS
from trivet.gateway.binary import find_haproxy, version_of

DOCUMENT, PICTURE = REPORTS / "gateway.json", REPORTS / "gateway.png"
PAGE = REPOSITORY / "docs" / "gateway-benchmarks.md"
_ROUNDS = 4
_FOR_GATEWAYS = ("trivet", "bentoml", "onnxruntime", "uvicorn", "uvloop", "httptools")


def run(rounds: int | None, seconds: float | None) -> Found:
    """Make a project, measure, and write document, tables and picture."""
    wrk()
    version = version_of(find_haproxy())
    load, chosen = os.getloadavg()[0], effort(rounds or (None if QUICK else _ROUNDS), seconds)
    with tempfile.TemporaryDirectory(prefix="trivet-bench-") as name:
        folder = Path(name)
        say("making the project")
        project = Project.make(folder / "project", online=SQLITE, models=("forest",))
        rows = measure(project, folder, chosen, most=1 if QUICK else 2, say=say)
    versions = results.these_versions()
    found = Found(
        made_at=datetime.now(UTC),
        quick=QUICK,
        seconds=chosen.seconds,
        rounds=chosen.rounds,
        connections=CONNECTIONS,
        machine=results.this_machine(load),
        versions={name: versions[name] for name in _FOR_GATEWAYS}
        | {"haproxy": ".".join(map(str, version or ("?",)))},
        rows=tuple(rows),
    )
    write(DOCUMENT, found)
    DOCUMENT.with_suffix(".md").write_text(tables(found))
    draw(found, PICTURE)
    say(f"written: {DOCUMENT.relative_to(REPOSITORY).with_suffix('')}.json, .md and .png")
    return found


def main() -> None:
    """Run, or fill the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "page"), default="run")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    if options.what == "page":
        fill_page(read(DOCUMENT), PAGE, PICTURE)
        return
    sys.stdout.write(tables(run(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
