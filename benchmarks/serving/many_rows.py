"""A thousand rows a request by entity key, beside Feast's own read alone on the same store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.serving.compare import Setting, Stage
from benchmarks.serving.contenders import APPS, trivet_by_key
from benchmarks.serving.load import WARM_SECONDS, Generator
from benchmarks.serving.project import Project
from benchmarks.serving.results import ManyRows, Spread, ratios
from benchmarks.serving.rounds import Effort
from benchmarks.serving.servers import running

ROWS = 1000
_CALLERS = 4
"""Enough that the server always has a request to work on."""


class FeastAlone:
    """`get_online_features` in a process of its own, which reads only when it is told to."""

    def __init__(self, project: Project, core: int | None) -> None:
        """Start it, and wait until it can read."""
        bound = [] if core is None else ["taskset", "-c", str(core)]
        self._process = subprocess.Popen(  # noqa: S603 - a script of this package
            [*bound, sys.executable, str(APPS / "feast_alone.py"), str(ROWS)],
            cwd=project.root / "feature_repo",
            env=project.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def rows_per_second(self, seconds: float) -> float:
        """Read for a while."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"measure {seconds}\n")
        self._process.stdin.flush()
        found = self._answer()
        return ROWS * found["requests"] / found["seconds"]

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("Feast alone ended; its error stands above.")
        found: dict[str, float] = json.loads(line)
        return found


def measure_many_rows(stage: Stage, setting: Setting, store: str) -> list[ManyRows]:
    """Measure one store: Feast alone, Trivet with a warm cache, Trivet without one."""
    stage.say(f"{ROWS:,} rows a request on {store}")
    place = stage.place(setting)
    contenders = [trivet_by_key(place, store, warm=warm) for warm in (True, False)]
    generator = Generator(core=setting.generator.core, threads=1, connections=_CALLERS, long=True)
    once = Effort(rounds=1, seconds=stage.effort.seconds)
    found: dict[str, list[float]] = {"feast": [], **{c.name: [] for c in contenders}}
    servers = [server for contender in contenders for server in contender.servers]
    with running(servers), _alone(getattr(stage, store), setting.server_core) as feast:
        turns = stage.turns(contenders)
        for _ in range(stage.effort.rounds):
            feast.rows_per_second(WARM_SECONDS)
            found["feast"].append(feast.rows_per_second(stage.effort.seconds))
            for name, loads in turns.closed(generator, once, ROWS).items():
                found[name].append(ROWS * loads[0].per_second)
    titles = {contender.name: contender.title for contender in contenders}
    return [
        ManyRows(
            name=f"{store}-{name}" if name == "feast" else name,
            title=titles.get(name, f"get_online_features alone, {store}"),
            store=store,
            rows_per_second=Spread.of(rates),
            of_feast=None if name == "feast" else ratios(rates, found["feast"]),
        )
        for name, rates in found.items()
    ]


@contextmanager
def _alone(project: Project, core: int | None) -> Iterator[FeastAlone]:
    feast = FeastAlone(project, core)
    try:
        yield feast
    finally:
        feast.stop()
