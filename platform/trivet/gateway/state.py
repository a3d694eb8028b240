"""What `trivet up` says of itself to other commands: `<home>/gateway/state.json`, replaced as a whole.

<home>/gateway/state.json           what runs, and how it is
<home>/gateway/lock                 held by the one supervisor of this home
<home>/gateway/requests/            what commands ask, and answers; see trivet.gateway.requests
<home>/gateway/logs/                what replicas and supervisor write
<home>/gateway/drain/               a file for each replica that is being drained
<home>/gateway/proxy/               HAProxy's configuration and sockets
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trivet.gateway.processes import lives
from trivet.settings import Settings

SCHEMA_VERSION = 1

Condition = Literal[
    "off", "starting", "ready", "not ready", "draining", "ending", "waiting", "failed"
]
"""off: a free place. waiting: it has died, and is started again in a moment. failed: not any more."""


class ReplicaState(BaseModel):
    """One place for a replica, and the process in it."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: Condition
    since: datetime
    why: str | None = None
    """What went wrong, where something did."""
    pid: int | None = None
    """Of the process and of its group."""
    born: int | None = None
    """See `trivet.gateway.processes.birth`."""
    port: int | None = None
    version: int | None = None
    """The champion in it."""
    restarts: int = 0
    requests: int = 0
    failed: int = 0
    in_flight: int = 0
    queued: int = 0
    log: Path


class Scaled(BaseModel):
    """A decision of the autoscaling that changed something."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    before: int
    wanted: int
    why: str


class ModelState(BaseModel):
    """The replicas of one model."""

    model_config = ConfigDict(frozen=True)

    name: str
    balance: str
    workers: int
    wanted: int
    """How many replicas there should be."""
    least: int | None = None
    most: int | None = None
    """Between which numbers it scales itself; None: it does not."""
    load: str = ""
    """What the autoscaling saw last."""
    decisions: tuple[Scaled, ...] = ()
    """Oldest first."""
    replicas: tuple[ReplicaState, ...]


class State(BaseModel):
    """All that runs behind one gateway."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    supervisor_pid: int
    supervisor_born: int
    proxy_pid: int | None = None
    proxy_born: int | None = None
    host: str
    port: int
    stats_port: int
    tls: bool = False
    tls_file: Path | None = None
    """The certificate that it was started with."""
    rate: int | None = None
    """Most requests a second from one address."""
    since: datetime
    written: datetime
    ending: bool = False
    models: tuple[ModelState, ...]

    @property
    def running(self) -> bool:
        """Whether the supervisor that wrote it still runs."""
        return lives(self.supervisor_pid, self.supervisor_born)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def own_url(self) -> str:
        """Where this machine asks what is served: the gateway, or behind a certificate a replica.

        The certificate names the host that callers know, not loopback; and a replica that is asked
        itself needs none to be trusted.
        """
        first = self.models[0].replicas if self.models else ()
        there = sorted((r for r in first if r.port is not None), key=lambda r: r.state != "ready")
        return f"http://127.0.0.1:{there[0].port}" if self.tls and there else self.url

    @property
    def stats_url(self) -> str:
        """HAProxy's own page and metrics: always on loopback, wherever the gateway listens."""
        return f"http://127.0.0.1:{self.stats_port}"

    @property
    def settled(self) -> bool:
        """Whether of each model as many as are wanted are ready, and nothing else is under way."""
        return all(
            sorted(r.state for r in model.replicas if r.state != "off") == ["ready"] * model.wanted
            for model in self.models
        )

    def stuck(self, patience: float) -> tuple[ModelState, ReplicaState] | None:
        """Return a replica that nobody should wait for any more; None: there is hope.

        One that was given up where all others of its model are ready, or one that runs and has not
        been ready for so many seconds. Where none of a model can come up its supervisor ends.
        """
        for model in self.models:
            there = [r for r in model.replicas if r.state != "off"]
            for replica in there:
                waited = (self.written - replica.since).total_seconds()
                if replica.state in {"starting", "not ready"} and waited >= patience:
                    return model, replica
            if {r.state for r in there} == {"ready", "failed"}:
                return model, next(r for r in there if r.state == "failed")
        return None


class Home:
    """The folder of a project's gateway."""

    def __init__(self, settings: Settings) -> None:
        """`settings`: name the folder above it."""
        self.folder = settings.home / "gateway"
        self.state_file = self.folder / "state.json"
        self.lock_file = self.folder / "lock"
        self.requests = self.folder / "requests"
        self.logs = self.folder / "logs"
        self.drain = self.folder / "drain"
        self.proxy = self.folder / "proxy"
        self.supervisor_log = self.logs / "supervisor.log"

    def read_state(self) -> State | None:
        """Return what was said last, by whoever; None: nothing, or nothing that can be read."""
        try:
            return State.model_validate_json(self.state_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def write_state(self, state: State) -> None:
        """Replace it; a reader sees the old or the new one, never a part."""
        replace(self.state_file, state)


def read_state(settings: Settings) -> State | None:
    """Return what runs behind the project's gateway, or None where no supervisor does."""
    state = Home(settings).read_state()
    return state if state is not None and state.running else None


def replace(file: Path, document: BaseModel) -> None:
    """Write a file as a whole.

    Not to the disk: what is said of processes is of no use after the machine has stopped.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(document.model_dump_json(indent=2) + "\n")
    partial.replace(file)
