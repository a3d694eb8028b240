"""Servers as processes: started on a core or on all, paused between their turns, and ended.

Whoever is not measured is paused (SIGSTOP), so that what it does when idle falls on nobody.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

READY_SECONDS = 240
SETTLE_SECONDS = 15
_WORKER = "_bentoml_impl.worker.service"


@dataclass(slots=True, kw_only=True)
class Server:
    """One server, which may be several processes."""

    name: str
    command: list[str]
    port: int
    ready: str
    """The path that answers 200 once the server does."""
    env: Mapping[str, str]
    cwd: Path
    log: Path
    core: int | None = None
    """The core that its processes are bound to; None: all of them."""
    started_in: float = 0.0
    """Seconds from exec to ready."""
    _process: psutil.Popen | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _ending: list[psutil.Process] = field(default_factory=list, init=False)

    def launch(self) -> None:
        """Start it, without waiting for it."""
        bound = [] if self.core is None else ["taskset", "-c", str(self.core)]
        self._began = time.perf_counter()
        with self.log.open("wb") as log:
            self._process = psutil.Popen(
                [*bound, *self.command],
                cwd=self.cwd,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it is ready.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """
        assert self._process is not None
        url = f"http://127.0.0.1:{self.port}{self.ready}"
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                    break
            if self._process.poll() is not None or self._age() > READY_SECONDS:
                raise RuntimeError(f"{self.name} did not become ready.\n{self.tail()}")
            time.sleep(0.02)
        self.started_in = self._age()

    def processes(self) -> list[psutil.Process]:
        """Return its processes, the first one first."""
        if self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return [self._process, *self._process.children(recursive=True)]
        return []

    def pause(self) -> None:
        """Stop its processes until `resume`: parents first, lest they miss their children."""
        _signal(self.processes(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes go on: children first."""
        _signal(reversed(self.processes()), signal.SIGCONT)

    def worker(self) -> psutil.Process:
        """Return a process that answers: a BentoML worker, else the largest one."""
        found = self.processes()
        workers = [process for process in found if _WORKER in process.cmdline()]
        return max(workers or found, key=rss_mib)

    def terminate(self) -> None:
        """Ask it to end, without waiting for it."""
        self._ending = self.processes()
        self.resume()
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.terminate()

    def stop(self) -> None:
        """See that it ends, and all that it started, by their ids."""
        _, left = psutil.wait_procs(self._ending, timeout=15)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        self._process = None

    def tail(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-4000:]

    def _age(self) -> float:
        return time.perf_counter() - self._began


@contextmanager
def running(servers: list[Server], *, settled: bool = True) -> Iterator[None]:
    """Start servers together, pause each when it is ready, and end them afterwards.

    `settled`: let them first do what they do once, after their start.
    """
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()
            server.pause()
        if settled:
            _settle(servers)
        yield
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.stop()


def _settle(servers: list[Server]) -> None:
    """Let what a server does once be over before anybody is measured: a first look at Feast."""
    for server in servers:
        server.resume()
    time.sleep(SETTLE_SECONDS)
    for server in servers:
        server.pause()


def pss_mib(process: psutil.Process) -> float:
    """Return the memory of a process, with its share of what it shares with others."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return (
        next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    )


def rss_mib(process: psutil.Process) -> float:
    """Return the resident memory of a process."""
    return float(process.memory_info().rss) / 2**20


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal(processes: Iterator[psutil.Process] | list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(process.pid, number)
