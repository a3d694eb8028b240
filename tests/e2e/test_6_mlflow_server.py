"""A service whose registry is an MLflow server that comes late, and goes while requests run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from journey import Project, Service, free_port
from releases import Releaser
from steady import Answer, Steady
from trivet.live import CONTRACT
from waiting import wait_or_kill

from .conftest import example
from .registry import MODEL

RATE = 60.0
BOUND = 32 * 2**20
"""Bytes for loaded versions: the model and the one before it fit, a padded one does not."""


class MlflowServer:
    """`mlflow server` on a project's own database, on a port that stays the same."""

    def __init__(self, project: Project) -> None:
        """Nothing is started yet."""
        self._project = project
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: psutil.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["mlflow", "server", "--port", str(self._port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._project.root / 'mlflow.db'}"]
        # Else it starts seven processes of 250 MB each, for evaluations.
        env = self._project.env | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        log = (self._project.root / "mlflow-server.log").open("ab")
        with log:
            self._process = psutil.Popen(
                command, cwd=self._project.root, env=env, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def stop(self) -> None:
        """End it and what it has started."""
        if self._process is None:
            return
        processes = [self._process, *self._process.children(recursive=True)]
        for one in processes:
            one.terminate()
        wait_or_kill(processes, within=20)
        self._process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.uri}/health", timeout=2).is_success
        except httpx.TransportError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen: before the server was there, while it was, and after it had been stopped."""

    answers: list[Answer]
    asked: set[tuple[int, int]]
    """Status and version of what every worker answered after the server was stopped."""
    away: Any
    """What a worker's `/status` says of the registry after it was stopped."""
    reachable: float
    started: list[Any]
    """What the workers answer before the server is there."""
    started_says: Any
    back: Any
    followed: list[int]
    """The versions that are loaded after an alias was set."""
    refused: str
    """Why a version that is too large does not answer."""
    log: str


@contextmanager
def another_service(project: Project, server: MlflowServer, home: Path) -> Iterator[Service]:
    """Serve from a home of its own, as on another host, and follow the server."""
    env = {
        "TRIVET_HOME": str(home),
        "MLFLOW_TRACKING_URI": server.uri,
        "TRIVET_VERSIONS_BYTES": str(BOUND),
    }
    with Service(project, MODEL, workers=2, env=env) as service:
        yield service


@pytest.fixture(scope="module")
def releaser(project: Project) -> Releaser:
    """Return what makes releases."""
    return Releaser(project, MODEL)


@pytest.fixture(scope="module")
def story(
    project: Project,
    service: Service,
    releaser: Releaser,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """Start a service before the server is there, then the server, and stop that under load."""
    home = shutil.copytree(project.root / ".trivet", project.root / "a-third")
    load = tmp_path_factory.mktemp("load")
    server, body = MlflowServer(project), example(service)
    try:
        with another_service(project, server, home) as one:
            started = [one.post("/predict", body, **FRESH).json() for _ in range(8)]
            says = until(one, lambda said: said["registry"] and not said["registry"]["ok"])
            server.start()
            back = until(one, lambda said: said["registry"]["ok"])
            releaser.client.set_registered_model_alias(MODEL, "challenger", "2")
            followed = until(one, lambda said: 2 in said["versions"])
            large = releaser.vary(1, "large", pad)
            releaser.promote(large)
            refused = until(one, lambda said: said["refused"] is not None)
            releaser.roll_back()
            until(one, lambda said: said["refused"] is None)
            with Steady(one.port, body, RATE, load) as steady:
                server.stop()
                away = until(one, lambda said: not said["registry"]["ok"])
                asked = every_worker(one, body)
            reachable = one.metric("trivet_registry_reachable")
        releaser.client.delete_registered_model_alias(MODEL, "challenger")
        releaser.client.delete_model_version(MODEL, str(large))
        yield Story(
            answers=steady.answers,
            asked=asked,
            away=away["registry"],
            reachable=reachable,
            started=started,
            started_says=says["registry"],
            back=back["registry"],
            followed=followed["versions"],
            refused=refused["refused"],
            log=one.log.read_text(),
        )
    finally:
        server.stop()


def test_no_request_fails_when_the_server_stops(story: Story) -> None:
    """Nothing that a request needs is asked of it."""
    assert {(one.status, one.version) for one in story.answers} == {(200, 1)}
    assert story.asked == {(200, 1)}


def test_a_service_says_that_its_registry_is_away(story: Story) -> None:
    """In `/status`, by a metric, and in the log."""
    assert "MLflow at http://127.0.0.1" in story.away["why"]
    assert story.reachable == 0
    assert "the last good version serves from its local copy" in story.log


def test_a_service_that_is_started_without_it_answers_by_its_local_copy(story: Story) -> None:
    """And says so."""
    assert {one["model"]["version"] for one in story.started} == {1}
    assert "MLflow at http://127.0.0.1" in story.started_says["why"]


def test_when_the_server_is_there_it_is_followed(story: Story) -> None:
    """Without a restart."""
    assert story.back == {"ok": True, "since": story.back["since"], "why": None}
    assert story.followed == [1, 2]


def test_a_version_that_is_too_large_never_answers(story: Story) -> None:
    """The old one stays, and the sentence names the setting."""
    assert "TRIVET_VERSIONS_BYTES" in story.refused
    assert "of the 32.0 MiB for loaded versions" in story.refused


def test_a_worker_that_is_killed_in_the_midst_of_a_swap_breaks_nothing(
    service: Service, releaser: Releaser
) -> None:
    """The one in its place has the new version, the other one goes on, and no half copy stays."""
    body = example(service)
    victim = int(service.post("/predict", body).headers["X-Trivet-Replica"].rpartition("-")[2])
    releaser.promote(2)
    while (live := releaser.shelf.read_live()) is None or live.champion != 2:
        time.sleep(0.005)
    os.kill(victim, signal.SIGKILL)
    service.answering(2, within=60)
    assert {post(service, body) for _ in range(16)} == {(200, 2)}
    releaser.roll_back()
    service.answering(1)
    assert not list(releaser.shelf.versions.glob(".partial-*"))
    assert all((one / CONTRACT).is_file() for one in releaser.shelf.versions.iterdir())


def test_another_follower_follows_when_one_is_killed(service: Service, releaser: Releaser) -> None:
    """Else the service would answer for ever with what it has."""
    first = service.follower()
    first.kill()
    deadline = time.monotonic() + 30
    while not (others := [one for one in followers(service) if one != first]):
        assert time.monotonic() < deadline, service.tail()
        time.sleep(0.1)
    releaser.promote(2)
    service.answering(2, within=60)
    releaser.roll_back()
    service.answering(1)
    assert len(others) == 1


def followers(service: Service) -> list[psutil.Process]:
    """Return the processes that follow the service's model, zombies left out."""
    found = []
    for one in service.processes():
        with contextlib.suppress(psutil.Error):
            if "trivet.follow" in one.cmdline():
                found.append(one)
    return found


FRESH = {"headers": {"Connection": "close"}}
"""A connection that is kept asks the same worker again and again."""


def pad(folder: Path) -> None:
    """Make a version's code larger than the bound."""
    with (folder / "trivet" / "postprocess.py").open("a") as code:
        code.write(f"# {'.' * BOUND}\n")


def post(service: Service, body: dict[str, Any]) -> tuple[int, int]:
    """Return status and version of an answer on a new connection."""
    answer = service.post("/predict", body, **FRESH)
    return answer.status_code, answer.json()["model"]["version"]


def every_worker(
    service: Service, body: dict[str, Any], seconds: float = 30
) -> set[tuple[int, int]]:
    """Ask on new connections until both workers have answered; return statuses and versions.

    Kept connections do not do: one worker may have accepted all of them.
    """
    deadline, replicas, found = time.monotonic() + seconds, set(), set()
    while len(replicas) < service.workers:
        assert time.monotonic() < deadline, (replicas, service.tail())
        answer = service.post("/predict", body, **FRESH)
        replicas.add(answer.headers["X-Trivet-Replica"])
        found.add((answer.status_code, answer.json()["model"]["version"]))
    return found


def until(service: Service, holds: Callable[[Any], bool], seconds: float = 30) -> Any:
    """Wait until what `/status` says holds, and return it."""
    deadline = time.monotonic() + seconds
    while not holds(said := service.get("/status", **FRESH).json()):
        assert time.monotonic() < deadline, (said, service.tail())
        time.sleep(0.05)
    return said
