"""How the cost of a request grows: with features, rows, loaded versions and stored entities.

One worker on a core of its own and the generator on the other. The points of a curve take turns, but
for those of one growing store or registry, which are measured as it grows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving import bodies
from benchmarks.serving.compare import Say, Setting, settings
from benchmarks.serving.contenders import Contender, Place, trivet_by_key, trivet_by_value
from benchmarks.serving.load import Generator
from benchmarks.serving.points import Case, measured
from benchmarks.serving.project import SQLITE, Project
from benchmarks.serving.results import Curve, Point
from benchmarks.serving.rounds import Effort

FEATURES = (5, 20, 50, 100, 200)
ROWS = (1, 4, 16, 64, 256, 1000)
VERSIONS = (1, 5, 10, 20)
STORED = (1_000, 10_000, 100_000, 1_000_000)
_WRITING_SECONDS = 300.0
"""Most time for one step of a growing store; the curve says how far it came."""
_FEW = 4
"""Callers where a request holds up to a thousand rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Where curves are measured, and how long."""

    folder: Path
    setting: Setting
    effort: Effort
    quick: bool
    say: Say

    def of(self, xs: Sequence[int]) -> Sequence[int]:
        """Return the points of a curve; of a smoke run, the first two."""
        return xs[:2] if self.quick else xs

    def place(self, project: Project) -> Place:
        """Say where the servers of a project run."""
        setting = self.setting
        return Place(
            sqlite=project,
            redis=project,
            workers=1,
            core=setting.server_core,
            logs=project.root,
        )

    def requests(
        self, contender: Contender, project: Project, rows: int = 1, users: int = STORED[0]
    ) -> Path:
        """Write requests for random users, no two of a request the same, each with an item."""
        values = np.load(project.artifacts / "rows.npy")
        random, count = np.random.default_rng(4), max(20, 10_000 // rows)
        drawn = (random.choice(users, rows, replace=False).tolist() for _ in range(count))
        path = project.root / f"{contender.name}-{rows}-{users}.jsonl"
        return bodies.write(path, contender.body, values, drawn)


def grow(effort: Effort, *, quick: bool, say: Say) -> list[Curve]:
    """Measure every curve."""
    with tempfile.TemporaryDirectory(prefix="trivet-growth-") as name:
        plot = Plot(folder=Path(name), setting=settings()[0], effort=effort, quick=quick, say=say)
        say("making a project")
        project = Project.make(plot.folder / "project", online=SQLITE, entities=STORED[0])
        return [
            *_features(plot),
            _rows(plot, project),
            _versions(plot, project),
            _stored(plot, project),
        ]


def _features(plot: Plot) -> Iterator[Curve]:
    cases: dict[str, list[Case]] = {"in the request": [], "by key, SQLite, cache off": []}
    for features in plot.of(FEATURES):
        plot.say(f"making a project of {features} features")
        folder = plot.folder / f"features-{features}"
        project = Project.make(folder, online=SQLITE, features=features, entities=STORED[0])
        place = plot.place(project)
        pair = trivet_by_value(place), trivet_by_key(place, "sqlite", warm=False)
        for contender, of_kind in zip(pair, cases.values(), strict=True):
            requests = plot.requests(contender, project)
            of_kind.append(Case(x=features, contender=contender, requests=requests))
    for how, points in cases.items():
        plot.say(f"features {how}")
        found = measured(plot.effort, points, plot.setting.generator)
        yield Curve(name=f"Features {how}", axis="features", unit="requests/s", points=found)


def _rows(plot: Plot, project: Project) -> Curve:
    plot.say("rows a request")
    contender = trivet_by_key(plot.place(project), "sqlite", warm=False)
    cases = [
        Case(x=n, contender=contender, requests=plot.requests(contender, project, n), times=n)
        for n in plot.of(ROWS)
    ]
    generator = Generator(core=plot.setting.generator.core, threads=1, connections=_FEW, long=True)
    points = measured(plot.effort, cases, generator)
    name = "Entities a request, SQLite, cache off, 4 callers"
    return Curve(name=name, axis="entities a request", unit="rows/s", points=points)


def _versions(plot: Plot, project: Project) -> Curve:
    points: list[Point] = []
    for count in plot.of(VERSIONS):
        plot.say(f"{count} versions")
        step = ("python", "-m", "benchmarks.serving.write", "versions", "forest", str(count))
        project.run(*step)
        contender = trivet_by_value(plot.place(project))
        case = Case(x=count, contender=contender, requests=plot.requests(contender, project))
        (point,) = measured(plot.effort, [case], plot.setting.generator, loaded=count)
        points.append(point)
    name = "Loaded versions, of which the champion answers"
    return Curve(name=name, axis="loaded versions", unit="requests/s", points=tuple(points))


def _stored(plot: Plot, project: Project) -> Curve:
    points: list[Point] = []
    have = STORED[0]
    for wanted in plot.of(STORED):
        if wanted > have:
            plot.say(f"storing {wanted:,} users")
            step = ("python", "-m", "benchmarks.serving.write", "entities")
            more = (str(have), str(wanted), str(_WRITING_SECONDS))
            have = int(project.run(*step, *more))
        contender = trivet_by_key(plot.place(project), "sqlite", warm=False)
        users = min(wanted, have)
        plot.say(f"{users:,} users asked for")
        requests = plot.requests(contender, project, users=users)
        case = Case(x=users, contender=contender, requests=requests)
        points += measured(plot.effort, [case], plot.setting.generator)
    name = "Stored entities, all asked for, SQLite, cache off"
    return Curve(name=name, axis="stored entities", unit="requests/s", points=tuple(points))
