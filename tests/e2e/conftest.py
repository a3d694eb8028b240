"""One project, made as a reader would make it, and one service: all journeys go through them.

The files are numbered in the order of the story. Each test leaves the project as it found it, but for
the ledger, which only grows; the last file moves the year, after which nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from journey import Project, Service

from .processes import Imports, left_over
from .registry import MODEL, Registry
from .toy import Toy, toy_project

BENTO = f"bentos/{MODEL}"
ROWS = "2500"
"""A sample of the departures: the journeys are about the way, not about the model's quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRelease:
    """A service that was started before any release, and what it said before the first one."""

    service: Service
    ready: httpx.Response
    contract: httpx.Response
    prediction: httpx.Response
    docs: Any


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Make a project with fresh features and three versions of the model, none released."""
    project = Project.copy(tmp_path_factory.mktemp("e2e") / "project")
    project.run("python", "flights.py", cwd=BENTO)
    project.run("python", "users.py", cwd="bentos/tutorial_users")
    project.run("feast", "apply", cwd="feature_repo")
    project.run("trivet", "materialize")
    project.run("trivet", "train", MODEL, "--rows", ROWS)
    Registry(project).copy(1)
    yield project
    left = left_over(project)
    assert not left, f"started by these tests, and not ended: {left}"


@pytest.fixture(scope="package")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Imports:
    """Record what the service's processes import."""
    return Imports(tmp_path_factory.mktemp("imports"))


@pytest.fixture(scope="package")
def first_release(trained: Project, imports: Imports) -> Iterator[FirstRelease]:
    """Start the service, note what it says, and then release version 1."""
    with Service(trained, MODEL, workers=2, ready="/livez", env=imports.env) as service:
        noted = FirstRelease(
            service=service,
            ready=service.get("/readyz"),
            contract=service.get("/contract"),
            prediction=service.post("/predict", {"instances": [{"origin": "JFK"}]}),
            docs=service.get("/docs.json").json(),
        )
        trained.run("trivet", "promote", MODEL, "1", "--reason", "the first release")
        # Both workers import Feast now, which takes its seconds.
        service.answering(1, within=90)
        yield noted


@pytest.fixture(scope="package")
def service(first_release: FirstRelease) -> Service:
    """Return the service: two workers, version 1 is the champion."""
    return first_release.service


@pytest.fixture(scope="package")
def project(trained: Project, first_release: FirstRelease) -> Project:
    """Return the project, with version 1 released."""
    return trained


@pytest.fixture(scope="package")
def registry(project: Project) -> Registry:
    """Return the project's registry, through MLflow's own client."""
    return Registry(project)


@pytest.fixture(scope="package")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """Make a project of five tiny versions; the first is the champion."""
    with toy_project(tmp_path_factory.mktemp("toy") / "project") as toy:
        yield toy


@pytest.fixture
def body(service: Service) -> dict[str, Any]:
    """Return a request that the service itself gives as an example."""
    return example(service)


def example(service: Service) -> dict[str, Any]:
    """Return the example of the service's own description."""
    operation = service.get("/docs.json").json()["paths"]["/predict"]["post"]
    return operation["requestBody"]["content"]["application/json"]["example"]
