"""What a supervisor works with, without processes: a proxy, replicas, probes and a clock."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trivet.errors import GatewayFailed
from trivet.gateway.admin import ProxyStats, ServerStats
from trivet.gateway.around import Around, Patience
from trivet.gateway.configuration import Gateway
from trivet.gateway.fleet import Fleet
from trivet.gateway.health import Health
from trivet.gateway.replica import Replica
from trivet.gateway.requests import Inbox, Wish
from trivet.gateway.state import Home, ModelState
from trivet.gateway.supervisor import Scaling, Supervisor, Told

MODEL = "shop"


@dataclass
class FakeProcess:
    """A process that ends when it is told to, or made to."""

    pid: int
    replica: Replica
    born: int | None = 1
    renewed: float = 0.0
    code: int | None = None
    deaf: bool = False
    """Whether it takes no notice of SIGTERM."""
    signals: list[signal.Signals] = field(default_factory=list)

    def ended(self) -> int | None:
        """Say what a test has set."""
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Take it, and end by it."""
        self.signals.append(number)
        if number == signal.SIGKILL or not self.deaf:
            self.code = -number if self.code is None else self.code


class FakeProbes:
    """Health by port, as tests say."""

    def __init__(self) -> None:
        self.found: dict[int, Health] = {}

    def watch(self, port: int) -> None:
        """Begin."""
        self.found[port] = Health()

    def forget(self, port: int) -> None:
        """End."""
        del self.found[port]

    def health(self, port: int) -> Health:
        """Say what a test has set."""
        return self.found[port]


class FakeProxy:
    """Remembers what it was told of each server."""

    def __init__(self) -> None:
        self.running = False
        self.deaf = False
        self.refuses = False
        self.gateway: Gateway | None = None
        self.started = self.reloaded = 0
        self.states: dict[str, str] = {}
        self.ports: dict[str, int] = {}
        self.in_flight: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.waiting = 0

    def start(self, gateway: Gateway) -> None:
        """Run from now on."""
        self.started += 1
        self.running = True
        self._take(gateway)

    def reload(self, gateway: Gateway) -> None:
        """Take another configuration, or refuse it."""
        if self.refuses:
            raise GatewayFailed("refuses its configuration", "a test")
        self.reloaded += 1
        self._take(gateway)

    def stop(self) -> None:
        """Run no more."""
        self.running = False

    def drain(self, model: str, server: str) -> None:
        """Note it."""
        self._tell(server, "drain")

    def ready(self, model: str, server: str) -> None:
        """Note it."""
        self._tell(server, "ready")

    def maintain(self, model: str, server: str) -> None:
        """Note it."""
        self._tell(server, "maint")

    def address(self, model: str, server: str, port: int) -> None:
        """Note it."""
        self._listen()
        self.ports[server] = port

    def stats(self) -> ProxyStats:
        """Say what a test has set."""
        self._listen()
        assert self.gateway is not None
        servers = tuple(
            self._stats(backend.model, server.name)
            for backend in self.gateway.backends
            for server in backend.servers
        )
        queued = {backend.model: self.waiting for backend in self.gateway.backends}
        return ProxyStats(servers=servers, queued=queued)

    def _stats(self, model: str, server: str) -> ServerStats:
        counted = ("queued", "requests", "failed", "server_errors", "retried", "redispatched")
        zero = dict.fromkeys((*counted, "answer_ms", "queue_ms", "downs"), 0)
        busy = self.in_flight.get(server, 0)
        zero["requests"] = self.requests.get(server, busy)
        return ServerStats(
            model=model, server=server, state="UP", in_flight=busy, check="L7OK", **zero
        )

    def _take(self, gateway: Gateway) -> None:
        self.gateway = gateway
        for backend in gateway.backends:
            for server in backend.servers:
                self.states[server.name] = "ready" if server.enabled else "maint"
                self.ports[server.name] = server.port

    def _tell(self, server: str, state: str) -> None:
        self._listen()
        self.states[server] = state

    def _listen(self) -> None:
        if self.deaf or not self.running:
            raise GatewayFailed("does not answer", "a test")


class World:
    """A supervisor among fakes, and a clock that moves when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.home = Home(_Home(folder))  # type: ignore[arg-type]
        self.proxy, self.probes = FakeProxy(), FakeProbes()
        self.processes: list[FakeProcess] = []
        self.said: list[str] = []
        self.written: tuple[ModelState, ...] = ()
        self.inbox = Inbox(self.home.requests)
        self.tls: Path | None = None
        self.broken_code = False
        """Whether a process that is started dies at once."""
        self.refused = False
        """Whether the system starts no process."""
        self.slow = False
        """Whether a process that is started does not answer yet."""
        told = Told(self.proxy)
        around = Around(
            balancer=told,
            probes=self.probes,
            start=self._start,
            free_port=self._port,
            patience=Patience(start=60.0, silent=10.0, drain=30.0),
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now),
            tell=self.said.append,
        )
        self.supervisor = Supervisor(
            home=self.home,
            proxy=self.proxy,
            told=told,
            around=around,
            gateway=self._gateway,
            scaling=Scaling(up=2.0, down=10.0),
            write=self._write,
        )

    def up(self, **wish: object) -> None:
        """Open with one model."""
        self.supervisor.open((Wish(model=MODEL, **wish),), self.now)  # type: ignore[arg-type]
        self.run(1.0)

    def run(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        """Let time pass, a step each tenth of a second; those who can answer do."""
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            for process in self.alive:
                if not self.slow and not process.deaf:
                    self.answer(process)
            self.supervisor.step(self.now)
            then()

    def answer(self, process: FakeProcess, *, ready: bool = True) -> None:
        """Have a replica answer its probe."""
        if process.code is not None:
            return
        assert process.replica.port is not None
        ready = ready and not process.replica.drain_file.exists()
        self.probes.found[process.replica.port] = Health(answered=self.now, ready=ready, version=1)

    @property
    def alive(self) -> list[FakeProcess]:
        """The processes that run."""
        return [process for process in self.processes if process.code is None]

    @property
    def fleet(self) -> Fleet:
        """The first model's."""
        return self.supervisor.fleets[0]

    def states(self) -> dict[str, str]:
        """The state of each place that is taken."""
        return {r.name: r.state for r in self.fleet.replicas if r.state != "off"}

    def serving(self) -> set[str]:
        """The places that get requests."""
        return {name for name, state in self.proxy.states.items() if state == "ready"}

    def _start(self, replica: Replica) -> FakeProcess:
        if self.refused:
            raise OSError("no memory")
        process = FakeProcess(pid=100 + len(self.processes), replica=replica)
        if self.broken_code:
            process.code = 1
        self.processes.append(process)
        return process

    def _port(self) -> int:
        return 40_000 + len(self.processes)

    def _gateway(self, fleets: tuple[Fleet, ...]) -> Gateway:
        backends = tuple(one.backend for one in fleets)
        return Gateway(port=3000, stats_port=3001, tls=self.tls, backends=backends)

    def _write(self, models: tuple[ModelState, ...]) -> None:
        self.written = models


@dataclass(frozen=True)
class _Home:
    """Settings, as far as `Home` reads them."""

    home: Path
