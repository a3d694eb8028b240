"""The real thing for tests: a project in a folder of its own, and services as real processes.

    project = Project.copy(tmp_path / "project")
    project.run("trivet", "train", "tutorial_classifier")
    with Service(project, "tutorial_classifier", workers=2) as service:
        service.get("/readyz")
        service.post("/predict", {"instances": [...]})

Leaving the block ends what was started, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from waiting import wait_or_kill

REPOSITORY = Path(__file__).resolve().parents[1]

_PARTS = ("feature_repo", "bentos")
_NOT_INHERITED = ("TRIVET_", "MLFLOW_", "FEAST_", "BENTOML_")
_MINUTES = 5 * 60
_TOLD_SECONDS = 0.25
_MEASURED = "trivet"
"""The command whose code counts for coverage. Measuring costs a process a third of its time more."""
_COVERAGE = "COVERAGE_PROCESS_CONFIG"
"""Has a Python process measure itself."""


_RELEASE_USERS = """
import train
import users
from trivet.cli import trivet

users.main()
for command in ("apply", "materialize user_profile"):
    trivet.main(command.split(), standalone_mode=False)
train.main()
trivet.main("promote tutorial_users 1".split(), standalone_mode=False)
"""


class Project:
    """A Trivet project in a folder, and the commands that a reader types in it."""

    def __init__(self, root: Path) -> None:
        """`root`: a folder with the project's pyproject.toml."""
        self.root = root.resolve()

    @classmethod
    def copy(cls, to: Path) -> Self:
        """Copy what this repository's project is made of to a new folder: no data, no registry."""
        for part in _PARTS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / part, to / part, ignore=ignored)
        shutil.copy(REPOSITORY / "pyproject.toml", to)
        return cls(to)

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands: this one, free of the settings of the machine."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
        return kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "BENTOML_HOME": str(self.root / ".bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "DO_NOT_TRACK": "true",
        }

    def run(
        self,
        *command: str,
        cwd: str = ".",
        code: int = 0,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; fail with all that it printed if its exit code is not `code`.

        Args:
            command: as typed; found in the environment that the tests run in.
            cwd: a folder of the project.
            code: the exit code that is expected.
            stdin: text for its standard input.
            env: variables beside those of `env`.
        """
        variables = self.env | dict(env or {})
        if command[0] != _MEASURED:
            variables.pop(_COVERAGE, None)
        done = subprocess.run(
            command,
            cwd=self.root / cwd,
            env=variables,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=_MINUTES,
            check=False,
        )
        assert done.returncode == code, (
            f"`{' '.join(command)}` in {cwd} ended with {done.returncode}, not {code}\n"
            f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        )
        return done

    def release_users(self) -> None:
        """Bring the tutorial's users into Feast, and train and release a version on them.

        What a reader types one after the other, in one process: each would import MLflow anew.
        """
        self.run("python", "-c", _RELEASE_USERS, cwd="bentos/tutorial_users")

    def json(self, *command: str, cwd: str = ".") -> Any:
        """Run a command, and return the JSON that it printed on standard output."""
        return json.loads(self.run(*command, cwd=cwd).stdout)


class Service:
    """`bentoml serve` in a bento's folder, as a process with workers and a follower.

    A context manager: on entry it starts and waits until it is ready, on exit it stops.
    """

    def __init__(
        self,
        project: Project,
        bento: str,
        workers: int = 1,
        *,
        ready: str = "/readyz",
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = ("bentoml", "serve"),
        cwd: Path | None = None,
    ) -> None:
        """Nothing is started before `start`, or before the block is entered.

        Args:
            project: the folder that it runs in.
            bento: name of the bento's folder and of its BentoML service.
            workers: how many processes answer.
            ready: the route to wait for; `/livez` for a service that has no champion yet.
            env: variables beside the project's.
            command: that serves it.
            cwd: where the command is typed; default: the bento's folder.
        """
        self._command = tuple(command)
        self._cwd = cwd or project.root / "bentos" / bento
        self.project = project
        self.bento = bento
        self.workers = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = project.root / f"{bento}-{self.port}.log"
        self._ready = ready
        self._env = dict(env or {})
        self._process: psutil.Popen | None = None
        self._started: set[psutil.Process] = set()
        self._client = httpx.Client(base_url=self.url, timeout=30)

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        with self.log.open("wb") as log:
            self._process = psutil.Popen(
                self._command,
                cwd=self._cwd,
                env=self.project.env | self._settings() | self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it as `kill` does, and see that every process that it started ends by itself.

        Raises:
            AssertionError: one did not; it was killed, by its id.
        """
        self._client.close()
        if self._process is None:
            return
        started = self._started | set(self.processes())
        if self._process.poll() is None:
            self._process.terminate()
        left = wait_or_kill([self._process, *started], within=30)
        self._process = None
        assert not left, f"still running 30 s after {self.bento} was ended: {left}\n{self.tail()}"

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET; `options` are httpx's."""
        return self._client.get(path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Send a POST with a JSON body, or with httpx's `content` in `options`."""
        return self._client.post(path, json=json, **options)

    def processes(self) -> list[psutil.Process]:
        """Return the processes that it has started: workers, follower, and BentoML's own."""
        try:
            return [] if self._process is None else self._process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def follower(self) -> psutil.Process:
        """Return the process that follows the model's releases."""
        return next(p for p in self.processes() if "trivet.follow" in p.cmdline())

    def answering(self, version: int, *, within: float = 20) -> None:
        """Wait until a release has arrived: the version is the champion in every worker."""
        self._agree(
            self._everywhere(lambda champion: champion == version),
            f"version {version} to answer",
            within,
        )

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Return the samples of `/metrics` with this name and these labels (or more).

        With what was answered by now: workers tell it ten times a second.
        """
        time.sleep(_TOLD_SECONDS)
        return [
            sample
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of these samples; 0 where there are none."""
        return sum(sample.value for sample in self.samples(name, **labels))

    def tail(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-6000:]

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *raised: object) -> None:
        """Stop."""
        self.stop()

    def _settings(self) -> dict[str, str]:
        # BentoML 1.4 takes the number of workers of a service from its configuration alone, which is
        # the decorator's with this variable merged over it; `bentoml serve --api-workers` and
        # BENTOML_API_WORKERS are for services of the old style.
        workers = {"services": {self.bento: {"workers": self.workers}}}
        return {
            "BENTOML_PORT": str(self.port),
            "BENTOML_CONFIG_OVERRIDES": json.dumps(workers),
        }

    def _wait(self) -> None:
        self._agree(lambda: self._asks(self._ready).is_success, self._ready, within=120)
        if self._ready == "/readyz":
            loaded = self._everywhere(lambda champion: champion is not None)
            self._agree(loaded, "a version in every worker", within=60)

    def _everywhere(self, holds: Callable[[int | None], bool]) -> Callable[[], bool]:
        """Return a question that is answered by yes once it holds for every worker's champion."""
        champions: dict[str, int | None] = {}

        def asked() -> bool:
            answer = self._asks("/status")
            champions[answer.headers["X-Trivet-Replica"]] = answer.json()["champion"]
            return len(champions) == self.workers and all(map(holds, champions.values()))

        return asked

    def _agree(self, holds: Callable[[], bool], what: str, within: float) -> None:
        """Wait until something holds in every worker: several times as many in a row say so."""
        needed = 1 if self.workers == 1 else 4 * self.workers
        deadline = time.monotonic() + within
        agreed = 0
        while agreed < needed:
            self._started.update(self.processes())
            assert self._process is not None
            assert self._process.poll() is None, f"{self.bento} has ended\n{self.tail()}"
            try:
                agreed = agreed + 1 if holds() else 0
            except httpx.TransportError:
                agreed = 0
            assert time.monotonic() < deadline, (
                f"{self.bento}: waited {within:.0f} s for {what}\n{self.tail()}"
            )
            if not agreed:
                time.sleep(0.1)

    def _asks(self, path: str) -> httpx.Response:
        # Without keep-alive: a kept connection asks the same worker again and again.
        return self.get(path, headers={"Connection": "close"})


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
