"""What is needed goes away and comes back: predictions go on, or say why they do not."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from journey import Project, Service
from steady import Answer, Steady
from waiting import wait_for, wait_or_kill

from .conftest import example
from .registry import MODEL, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was seen while MLflow's database was gone, and the service that was started then."""

    running: httpx.Response
    answers: list[Answer]
    """Of the running service, at a steady rate for all that while."""
    status: Any
    newcomer: Service
    started: httpx.Response
    log: str
    made_anew: bool


@pytest.fixture(scope="module")
def outage(
    project: Project, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    """Move MLflow's database away, start another service of this host, and bring it back."""
    database, away = project.root / "mlflow.db", project.root / "away.db"
    # A home of its own, as on another host: else it would wait for the first one's follower.
    home = shutil.copytree(project.root / ".trivet", project.root / "another")
    newcomer = Service(project, MODEL, env={"TRIVET_HOME": str(home)})
    body = example(service)
    steady = Steady(service.port, body, 60.0, tmp_path_factory.mktemp("load"))
    with steady, moved(database, away):
        wait_for(lambda: f"there is no {database}" in service.log.read_text(), shown=service.tail)
        running = service.post("/predict", body)
        wait_for(lambda: not service.get("/status").json()["registry"]["ok"], shown=service.tail)
        status = service.get("/status").json()
        newcomer.start()
        wait_for(lambda: "the live state stays" in newcomer.log.read_text(), shown=newcomer.tail)
        started = newcomer.post("/predict", body)
        made_anew = database.exists()
    yield Outage(
        running=running,
        answers=steady.answers,
        status=status,
        newcomer=newcomer,
        started=started,
        log=newcomer.log.read_text(),
        made_anew=made_anew,
    )
    newcomer.stop()


def test_without_mlflow_a_running_service_goes_on(outage: Outage) -> None:
    """No request asks MLflow for anything."""
    assert outage.running.status_code == 200
    assert outage.running.json()["model"]["version"] == 1


def test_without_mlflow_no_request_fails(outage: Outage, service: Service) -> None:
    """When it goes, while it is away, and when it comes back; `/status` says that it is away."""
    assert {(one.status, one.version) for one in outage.answers} == {(200, 1)}
    assert len({one.replica for one in outage.answers}) == service.workers
    assert outage.status["registry"]["ok"] is False
    assert "mlflow.db" in outage.status["registry"]["why"]


def test_without_mlflow_a_service_starts_from_its_own_copy_and_says_so(outage: Outage) -> None:
    """The last good version answers; the log says what is wrong, and that this is why."""
    assert outage.started.status_code == 200
    assert outage.started.json()["model"] == {"name": MODEL, "version": 1}
    assert "the live state stays as it is: MLflow at sqlite:" in outage.log


def test_a_database_that_is_gone_is_not_made_anew(outage: Outage) -> None:
    """An empty one in its place would look like a registry in which nothing was ever released."""
    assert not outage.made_anew


def test_when_mlflow_is_back_both_services_follow_it_again(
    outage: Outage, service: Service, registry: Registry, body: dict[str, Any]
) -> None:
    """Without a restart: a version that gets an alias now is loaded by both."""
    both = (service, outage.newcomer)
    registry.point("challenger", 2)
    for one in both:
        wait_for(lambda one=one: answers_as(one, "challenger", body), shown=one.tail)
        assert "following the registry again" in one.log.read_text()
    registry.point("challenger", None)
    for one in both:
        wait_for(lambda one=one: not answers_as(one, "challenger", body), shown=one.tail)


def test_services_beside_each_other_count_apart(
    outage: Outage, service: Service, body: dict[str, Any]
) -> None:
    """BentoML empties one folder of counts for all services of a user whenever one starts."""
    both = (service, outage.newcomer)
    before = [one.metric("trivet_requests_total", status="200") for one in both]
    for number, one in enumerate(both, start=3):
        assert all(one.post("/predict", body).is_success for _ in range(number))
    after = [one.metric("trivet_requests_total", status="200") for one in both]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 4]


def test_when_the_parent_is_killed_follower_and_workers_end(outage: Outage) -> None:
    """`kill -9` leaves nobody a chance to tell them; workers that stayed would keep the port."""
    parent = outage.newcomer.follower().parent()
    assert parent is not None
    started = outage.newcomer.processes()
    parent.kill()
    assert wait_or_kill(started, within=10) == []


def test_without_the_feature_store_requests_are_refused_until_it_is_back(
    project: Project, service: Service, body: dict[str, Any]
) -> None:
    """A problem names the view that could not be read; readiness follows, both ways."""
    with online(project) as store, table_away(store):
        refused = first_refusal(service, body)
        wait_for(lambda: ready(service) == 503, shown=service.tail)
    assert refused.status_code == 503
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["title"] == "Features unavailable"
    assert "airport_weather" in refused.json()["detail"]
    assert "Retry-After" in refused.headers
    wait_for(lambda: ready(service) == 200, shown=service.tail)
    assert service.post("/predict", body).status_code == 200


def test_a_removed_online_store_is_noticed_and_a_new_one_is_read(
    project: Project, service: Service, body: dict[str, Any]
) -> None:
    """The open file of the old one would go on giving its values, older by the hour."""
    path = project.root / "data" / "online.db"
    away = project.root / "data" / "away"
    away.mkdir()
    files = sorted(path.parent.glob("online.db*"))
    for file in files:
        file.rename(away / file.name)
    try:
        refused = first_refusal(service, body)
        wait_for(lambda: ready(service) == 503, shown=service.tail)
        assert not path.exists()
    finally:
        for file in files:
            # A copy, so that it is another file of the same content.
            shutil.copyfile(away / file.name, file)
    assert refused.status_code == 503
    assert str(path) in refused.json()["detail"]
    wait_for(lambda: ready(service) == 200, shown=service.tail)
    with online(project) as store, table_away(store):
        first_refusal(service, body)
    assert service.post("/predict", body).status_code == 200


@contextlib.contextmanager
def moved(file: Path, to: Path) -> Iterator[None]:
    """Give a file another name, as long as the block lasts."""
    file.rename(to)
    try:
        yield
    finally:
        to.rename(file)


def first_refusal(service: Service, body: dict[str, Any]) -> httpx.Response:
    """Ask until a request is refused: what a worker has read it may use for another second."""
    answers: list[httpx.Response] = []

    def refuses() -> bool:
        answers.append(service.post("/predict", body))
        return answers[-1].status_code == 503

    wait_for(refuses, within=5, shown=service.tail)
    return answers[-1]


def ready(service: Service) -> int:
    """Return what a new probe is answered: either worker's."""
    return service.get("/readyz", headers={"Connection": "close"}).status_code


def answers_as(service: Service, alias: str, body: dict[str, Any]) -> bool:
    """Say whether some worker holds an alias' version."""
    headers = {"Connection": "close"}
    return service.post(f"/aliases/{alias}/predict", body, headers=headers).is_success


@contextlib.contextmanager
def online(project: Project) -> Iterator[Callable[[str], object]]:
    """Open Feast's SQLite online store, for one statement after the other."""
    path: Path = project.root / "data" / "online.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection.execute


@contextlib.contextmanager
def table_away(store: Callable[[str], object]) -> Iterator[None]:
    """Give the table of one view another name, as long as the block lasts."""
    store("ALTER TABLE flights_airport_weather RENAME TO away")
    try:
        yield
    finally:
        store("ALTER TABLE away RENAME TO flights_airport_weather")
