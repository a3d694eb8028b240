"""A gateway from its start to its end: `serve` is the supervisor's process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from trivet.clock import system_clock
from trivet.errors import AlreadyUp, ReplicaFailed
from trivet.gateway import starting
from trivet.gateway.around import Around, Patience, Process
from trivet.gateway.configuration import Backend, Gateway
from trivet.gateway.fleet import Fleet
from trivet.gateway.health import Prober
from trivet.gateway.leftovers import remove, sweep
from trivet.gateway.processes import birth, free_port
from trivet.gateway.proxy import Proxy
from trivet.gateway.replica import Replica
from trivet.gateway.requests import Wish
from trivet.gateway.state import Home, ModelState, State
from trivet.gateway.supervisor import Scaling, Supervisor, Told
from trivet.settings import Settings

_STEP_SECONDS = 0.1
_TAIL_LINES = 15
_END_SECONDS = 20.0


class Plan(BaseModel):
    """What is to be served, and where."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    port: int = 3000
    stats_port: int = 3001
    tls: Path | None = None
    rate: int | None = None
    wishes: tuple[Wish, ...]


class _AtOnce(BaseException):
    """A second signal: nothing is waited for any more."""


def serve(
    settings: Settings, plan: Plan, tell: Callable[[str], None], ready: Callable[[State], None]
) -> None:
    """Run a gateway and its replicas until SIGINT or SIGTERM; drain, and leave nothing behind.

    To be called in the main thread: it takes the signals, and what it starts ends with the thread.

    Args:
        settings: of the project.
        plan: what is served.
        tell: takes a sentence about each thing that happens.
        ready: called once when all replicas are, or all but those that were given up.

    Raises:
        AlreadyUp: another supervisor serves this project.
        BentoMissing, GatewayBinaryMissing, PortInUse, GatewayFailed: it cannot start.
        ReplicaFailed: no replica of a model comes up; all has been ended again.
    """
    for wish in plan.wishes:
        starting.require_bento(settings, wish.model)
    home = Home(settings)
    home.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        raise AlreadyUp("what it serves", f"port {plan.port}") from err
    try:
        if ended := sweep(home):
            tell(f"ended {ended} processes that an earlier supervisor had left")
        _Run(settings, plan, home, tell, ready).run()
    finally:
        remove(home)
        lock.release()


def gateway_of(settings: Settings, plan: Plan, backends: tuple[Backend, ...]) -> Gateway:
    """Return the gateway of a plan, with the limits that the settings say."""
    return Gateway(
        host=plan.host,
        port=plan.port,
        stats_port=plan.stats_port,
        tls=plan.tls,
        rate_per_second=plan.rate,
        most_body_bytes=settings.max_body_bytes,
        drain_seconds=settings.drain_seconds,
        backends=tuple(
            replace(
                backend,
                most_in_flight=settings.replica_in_flight,
                queue_seconds=settings.queue_seconds,
            )
            for backend in backends
        ),
    )


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log."""
    with suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


class _Run:
    """One life of a supervisor."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        home: Home,
        tell: Callable[[str], None],
        ready: Callable[[State], None],
    ) -> None:
        self._settings, self._plan, self._home = settings, plan, home
        self._ready = ready
        self._stop = threading.Event()
        self._since = system_clock()
        self._ending = False
        self._models: tuple[ModelState, ...] = ()
        self._proxy = Proxy(home.proxy)
        told = Told(self._proxy)
        around = Around(
            balancer=told,
            probes=Prober(),
            start=self._start,
            free_port=free_port,
            patience=Patience(
                start=settings.replica_start_seconds,
                silent=settings.replica_silent_seconds,
                drain=settings.drain_seconds,
            ),
            clock=system_clock,
            tell=tell,
        )
        scaling = Scaling(up=settings.scale_up_seconds, down=settings.scale_down_seconds)
        self._supervisor = Supervisor(
            home=home,
            proxy=self._proxy,
            told=told,
            around=around,
            gateway=self._gateway,
            scaling=scaling,
            write=self._write,
        )
        self._tell = tell

    def run(self) -> None:
        before = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        # A terminal that is closed; not where `nohup` says that this is nothing.
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._signalled)
        try:
            try:
                self._serve()
            finally:
                self._end()
        except _AtOnce:
            self._end_at_once()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _serve(self) -> None:
        self._supervisor.open(self._plan.wishes, time.monotonic())
        said = False
        while not self._stop.wait(_STEP_SECONDS):
            self._supervisor.step(time.monotonic())
            if not said and self._supervisor.at_rest:
                said = True
                self._supervisor.write()
                self._ready(self._state(self._models))
            if not said:
                self._require_hope()

    def _require_hope(self) -> None:
        """Give up where a model's first replicas have all failed."""
        for fleet in self._supervisor.fleets:
            broken = fleet.broken
            if broken is not None and not any(r.serves for r in fleet.replicas):
                why = f"{broken.why}, again and again"
                log = str(broken.log)
                raise ReplicaFailed(fleet.model, broken.name, why, log, tail(broken.log))

    def _end(self) -> None:
        """Accept nothing more, finish what is in flight, and end all processes."""
        self._ending = True
        self._stop.set()
        if self._proxy.pid is not None:
            self._tell("ending: what is in flight is answered first (again: at once)")
            self._supervisor.write()
        self._supervisor.close()
        deadline = time.monotonic() + _END_SECONDS
        while not self._supervisor.end_replicas(time.monotonic()):
            if time.monotonic() > deadline:
                self._supervisor.kill()
            time.sleep(_STEP_SECONDS)

    def _end_at_once(self) -> None:
        for number in (*_SIGNALS, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._tell("ending at once")
        self._supervisor.kill()
        self._supervisor.close()  # nothing is in flight any more

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._stop.is_set():
            raise _AtOnce
        self._stop.set()

    def _start(self, replica: Replica) -> Process:
        fleet = next(f for f in self._supervisor.fleets if f.model == replica.model)
        assert replica.port is not None  # noqa: S101 - it was just chosen; for the type checker
        return starting.start(
            self._settings,
            replica.model,
            replica.name,
            replica.port,
            fleet.spec.workers,
            replica.log,
            replica.drain_file,
        )

    def _gateway(self, fleets: tuple[Fleet, ...]) -> Gateway:
        backends = tuple(fleet.backend for fleet in fleets)
        return gateway_of(self._settings, self._plan, backends)

    def _write(self, models: tuple[ModelState, ...]) -> None:
        self._models = models
        try:
            self._home.write_state(self._state(models))
        except OSError as err:  # a full disk is no reason to serve no more
            self._tell(f"the state for other commands cannot be written: {err}")

    def _state(self, models: tuple[ModelState, ...]) -> State:
        proxy, plan, own = self._proxy.pid, self._plan, os.getpid()
        return State(
            supervisor_pid=own,
            supervisor_born=birth(own) or 0,
            proxy_pid=proxy,
            proxy_born=None if proxy is None else birth(proxy),
            host=plan.host,
            port=plan.port,
            stats_port=plan.stats_port,
            tls=plan.tls is not None,
            tls_file=plan.tls,
            rate=plan.rate,
            since=self._since,
            written=system_clock(),
            ending=self._ending,
            models=models,
        )


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
