"""Who is measured: how each is started, what it is asked, and how its answers are read.

Each server is started as its own documentation says, with the number of workers that everybody has
and one thread a model; access logs are off where there is an option for it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import bodies
from benchmarks.serving.project import REPOSITORY, Project
from benchmarks.serving.servers import Server, free_port

APPS = Path(__file__).resolve().parent / "apps"
ENVIRONMENTS = REPOSITORY / ".bench"
CACHE_SECONDS = 600
"""How long what is cached may be used where the cache is warm: longer than the others' turns take."""

Labels = Callable[[Any], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One row of the table, with its servers."""

    name: str
    title: str
    servers: tuple[Server, ...]
    path: str
    body: bodies.Body
    labels: Labels
    """Reads the predicted class ids from an answer."""
    warmed: bool = False
    """Whether all entities are asked for before each of its turns."""
    one_row: bool = True
    """False where a request may hold many rows."""

    @property
    def port(self) -> int:
        """Of the server that answers; of the chain, the first."""
        return self.servers[0].port


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the contenders of one comparison share."""

    sqlite: Project
    redis: Project
    workers: int
    core: int | None
    logs: Path

    def server(
        self,
        name: str,
        command: Iterable[str],
        *,
        port: int,
        ready: str,
        cwd: Path | None = None,
        project: Project | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Server:
        """Describe a server that is bound as all others are."""
        project = project or self.sqlite
        return Server(
            name=name,
            command=list(command),
            port=port,
            ready=ready,
            cwd=cwd or project.root,
            env=project.env | {"FOREST": str(project.artifacts)} | dict(env or {}),
            log=self.logs / f"{name}-{self.workers}.log",
            core=self.core,
        )


def _predictions(answer: Any) -> list[int]:
    return [row["class_id"] for row in answer["predictions"]]


def bento(
    place: Place, folder: Path, service: str, name: str, project: Project, **env: str
) -> Server:
    """Describe a plain `bentoml serve` in a folder."""
    port = free_port()
    workers = {"services": {service: {"workers": place.workers}}}
    variables = {"BENTOML_PORT": str(port), "BENTOML_CONFIG_OVERRIDES": json.dumps(workers)}
    host = [] if (folder.parent.name == "bentos") else ["--host", "127.0.0.1"]
    return place.server(
        name,
        ["bentoml", "serve", *host],
        port=port,
        ready="/readyz",
        cwd=folder,
        project=project,
        env=variables | env,
    )


def trivet_by_value(place: Place, model: str = "forest") -> Contender:
    """Trivet with all features in the request."""
    folder = place.sqlite.root / "bentos" / model
    runtime = ", pyfunc" if model == "forest_pyfunc" else ""
    name = f"trivet-value{runtime.replace(', ', '-')}"
    server = bento(place, folder, model, name, place.sqlite)
    return Contender(
        name=name,
        title=f"Trivet, features in the request{runtime}",
        servers=(server,),
        path="/predict",
        body=bodies.by_value,
        labels=_predictions,
        one_row=False,
    )


def trivet_by_key(place: Place, store: str, *, warm: bool) -> Contender:
    """Trivet by entity key, with its cache of features or without."""
    project: Project = getattr(place, store)
    state = "warm" if warm else "off"
    name = f"trivet-{store}-{state}"
    folder = project.root / "bentos" / "forest_by_key"
    settings = {
        "TRIVET_CACHE_SECONDS": str(CACHE_SECONDS if warm else 0),
        # Callers in a crowd wait, as they do at every other server here, and get no 503.
        "TRIVET_FEATURE_TIMEOUT_SECONDS": "30",
    }
    server = bento(place, folder, "forest_by_key", name, project, **settings)
    pretty = {"sqlite": "SQLite", "redis": "Redis"}[store]
    return Contender(
        name=name,
        title=f"Trivet, by key, {pretty}, cache {state}",
        servers=(server,),
        path="/predict",
        body=bodies.by_key,
        labels=_predictions,
        warmed=warm,
        one_row=False,
    )


def limit(place: Place) -> Contender:
    """The bare app."""
    port = free_port()
    options = ["--port", str(port), "--workers", str(place.workers), "--log-level", "warning"]
    stack = ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    server = place.server(
        "limit",
        [sys.executable, "-m", "uvicorn", "--app-dir", str(APPS), "limit:app", *options, *stack],
        port=port,
        ready="/",
        env={"FOREST_MODEL": "forest"},
    )
    return Contender(
        name="limit",
        title="bare ASGI + ONNX Runtime (the limit)",
        servers=(server,),
        path="/predict",
        body=bodies.by_value,
        labels=_predictions,
        one_row=False,
    )


def in_environment(name: str) -> str:
    """Return the Python of a peer's own environment.

    Raises:
        SystemExit: it has not been made.
    """
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        sys.exit(f"{os.path.relpath(python)} is not there: make bench-peers makes it.")
    return str(python)
