"""The generators as processes, on a core of their own or on all: wrk, Python callers, open loop."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.serving.contenders import Contender
from benchmarks.serving.openloop import Latencies
from benchmarks.serving.project import REPOSITORY

CONNECTIONS = 64
WARM_SECONDS = 1.0
_SCRIPT = Path(__file__).resolve().parent / "post.lua"
_NO_WRK = (
    "The benchmarks need wrk to ask faster than any server answers: "
    "apt-get install wrk (Debian, Ubuntu), brew install wrk (macOS)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a closed loop found."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Where and how hard a comparison's generators ask."""

    core: int | None
    """The core that they are bound to; None: all."""
    threads: int
    connections: int = CONNECTIONS
    long: bool = False
    """Whether requests take so long that only a few are answered: wrk would not count the last."""

    def warm(self, contender: Contender, bodies: Path) -> None:
        """Ask for a second by a few connections: a crowd would leave a slow server work to catch up."""
        few = replace(self, connections=min(8, self.connections), threads=1)
        few.closed(contender, bodies, WARM_SECONDS, least=0)

    def closed(self, contender: Contender, bodies: Path, seconds: float, *, least: int = 1) -> Load:
        """Ask as fast as answers come.

        Raises:
            SystemExit: any answer was not 2xx, or fewer than `least` came.
        """
        ask = self._callers if self.long or len(contender.servers) > 1 else self._wrk
        found = ask(contender, bodies, seconds)
        faults = {name: found.pop(name, 0) for name in ("refused", "broken", "unanswered")}
        if any(faults.values()) or found["requests"] < least:
            counts = ", ".join(f"{count} {name}" for name, count in faults.items())
            sys.exit(
                f"{contender.name}: {found['requests']} answers, {counts}: "
                f"a rate of what fails is none.\n{_tails(contender)}"
            )
        return Load(**found)

    def open(
        self, contender: Contender, bodies: Path, seconds: float, *, rate: float, seed: int
    ) -> Latencies:
        """Ask at a rate, whatever comes of it.

        Raises:
            SystemExit: any answer was not 2xx, or did not come.
        """
        module = [sys.executable, "-m", "benchmarks.serving.openloop"]
        where = ["--port", str(contender.port), "--path", contender.path, "--bodies", str(bodies)]
        how = ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(seed)]
        found = Latencies(**self._run([*module, *where, *how], contender))
        if found.failed:
            sys.exit(f"{contender.name}: {found.failed} of {found.requests} were not answered.")
        return found

    def _wrk(self, contender: Contender, bodies: Path, seconds: float) -> dict[str, Any]:
        size = [f"-t{self.threads}", f"-c{self.connections}", f"-d{seconds:g}s", "--timeout", "30s"]
        url = f"http://127.0.0.1:{contender.port}{contender.path}"
        arguments = ["--", str(bodies), str(self.threads)]
        return self._run([wrk(), *size, "-s", str(_SCRIPT), url, *arguments], contender)

    def _callers(self, contender: Contender, bodies: Path, seconds: float) -> dict[str, Any]:
        module = [sys.executable, "-m", "benchmarks.serving.callers", "--bodies", str(bodies)]
        first, *then = (str(server.port) for server in contender.servers)
        where = ["--port", first, "--path", contender.path, *(["--then", *then] if then else [])]
        how = ["--seconds", str(seconds), "--connections", str(self.connections)]
        return self._run([*module, *where, *how], contender)

    def _run(self, command: list[str], contender: Contender) -> dict[str, Any]:
        bound = [] if self.core is None else ["taskset", "-c", str(self.core)]
        done = subprocess.run(  # noqa: S603 - commands of this package
            [*bound, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{contender.name}: {done.stderr}\n{_tails(contender)}")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def wrk() -> str:
    """Return where wrk is.

    Raises:
        SystemExit: it is not installed; with how to get it.
    """
    path = shutil.which("wrk")
    return path or sys.exit(_NO_WRK)


def _tails(contender: Contender) -> str:
    return "\n".join(server.tail() for server in contender.servers)
