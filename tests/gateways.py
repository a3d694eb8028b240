"""`trivet up` as a process: what runs behind it, and faults that befall it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from journey import Project, free_port
from trivet.gateway.state import Home, ReplicaState, State, read_state
from trivet.settings import load_settings
from waiting import wait_for, wait_or_kill


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A project's gateway, by its own state and through its port."""

    project: Project
    model: str
    port: int = field(default_factory=free_port)
    stats_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def where(self) -> tuple[str, ...]:
        """The options of `trivet up` that name its ports."""
        return "--port", str(self.port), "--stats-port", str(self.stats_port)

    @property
    def home(self) -> Home:
        """Its folder."""
        return Home(load_settings(self.project.root))

    @property
    def state(self) -> State:
        """What its supervisor says."""
        found = read_state(load_settings(self.project.root))
        assert found is not None, "no supervisor runs"
        return found

    @property
    def replicas(self) -> list[ReplicaState]:
        """The places that are taken."""
        (model,) = self.state.models
        return [replica for replica in model.replicas if replica.state != "off"]

    def group(self, name: str) -> list[psutil.Process]:
        """Return the processes of a replica: `bentoml serve`, then its workers; none at its end."""
        (pid,) = (replica.pid for replica in self.replicas if replica.name == name)
        try:
            leader = psutil.Process(pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:  # what its supervisor says is half a second old
            return []

    def workers(self, name: str) -> list[psutil.Process]:
        """Return the processes of a replica that answer."""
        return [one for one in self.group(name) if _is_worker(one)]

    def answers(self, name: str) -> bool:
        """Say whether a replica answers by itself."""
        (port,) = (replica.port for replica in self.replicas if replica.name == name)
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1).is_success
        except httpx.HTTPError:
            return False

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a replica's processes, all at once: its workers lead groups of their own."""
        for process in self.group(name):
            process.send_signal(number)

    def started(self) -> list[psutil.Process]:
        """Return the supervisor and all that it has started."""
        supervisor = psutil.Process(self.state.supervisor_pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def predict(self, body: dict[str, Any], **options: Any) -> httpx.Response:
        """Ask through the gateway, by a connection of its own."""
        return httpx.post(f"{self.url}/predict", json=body, timeout=30, **options)

    def settle(self, replicas: int, within: float = 60.0) -> None:
        """Wait until as many are ready, and nothing else is under way."""
        self.until(lambda: self.state.settled and len(self.replicas) == replicas, within)

    def until(self, holds: Callable[[], bool], within: float = 60.0) -> None:
        """Wait until something holds; fail with what the supervisor said last."""
        wait_for(holds, within, self.told)

    def told(self) -> str:
        """Return the end of the supervisor's log."""
        return self.home.supervisor_log.read_text()[-3000:]

    def nothing_is_left(
        self, started: list[psutil.Process], within: float = 10.0, *, sockets: bool = False
    ) -> None:
        """See that what was started has ended, and that its ports are free.

        `sockets`: whether the files of sockets may be left; nobody was there to remove them.
        """
        left = wait_or_kill(started, within)
        assert not left, left
        for port in (self.port, self.stats_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert sockets or not list(self.home.folder.rglob("*.sock"))


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "_bentoml_impl.worker.service" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False
