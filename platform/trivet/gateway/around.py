"""What a replica's life happens in: its process, the proxy, the probes of readiness, and patience."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trivet.clock import Clock
from trivet.gateway.health import Health

if TYPE_CHECKING:
    from trivet.gateway.replica import Replica


class Process(Protocol):
    """A replica's process, the leader of a group."""

    pid: int
    born: int | None
    renewed: float
    """When it last started or lost a process of its own, such as a worker or another in its place."""

    def ended(self) -> int | None:
        """Return its exit code once it has ended."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the group."""
        ...


class Balancer(Protocol):
    """The proxy, as far as a replica's life needs it."""

    def drain(self, model: str, server: str) -> None:
        """Give it nothing new."""
        ...

    def ready(self, model: str, server: str) -> None:
        """Give it requests."""
        ...

    def maintain(self, model: str, server: str) -> None:
        """Give it nothing, and do not look after it."""
        ...

    def address(self, model: str, server: str, port: int) -> None:
        """Say where it listens."""
        ...


class Probes(Protocol):
    """Asks replicas whether they are ready."""

    def watch(self, port: int) -> None:
        """Begin."""
        ...

    def forget(self, port: int) -> None:
        """End."""
        ...

    def health(self, port: int) -> Health:
        """Return what was last heard."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a replica may take, in seconds."""

    start: float
    """From its start until it first answers at all; of an update's, until it is ready."""
    silent: float
    """Without any answer, once it has given one."""
    drain: float
    """For what is in flight."""
    end: float = 10.0
    """From SIGTERM to SIGKILL."""
    quick: float = 10.0
    """A replica that dies sooner than so long after it was ready counts as one that never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a replica's life happens in."""

    balancer: Balancer
    probes: Probes
    start: Callable[[Replica], Process]
    free_port: Callable[[], int]
    patience: Patience
    clock: Clock
    tell: Callable[[str], None]
    """Takes a sentence about what happened."""
