"""Start and end the servers of the example: `bentoml serve` and `mlflow ui`, as one would type them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx

from journey import BENTO, MODEL, ROOT, console, environment

STARTING_SECONDS = 60
ENDING_SECONDS = 15


@contextlib.contextmanager
def service(port: int, *, workers: int = 1) -> Iterator[str]:
    """Run `bentoml serve` in the bento's folder until the block ends; gives its address."""
    port = free_port(port)
    options = {"BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {MODEL: {"workers": workers}}})}
    url = f"http://127.0.0.1:{port}"
    command = ["bentoml", "serve", "--port", str(port)]
    with server("service", command, BENTO, f"{url}/readyz", options):
        yield url


@contextlib.contextmanager
def mlflow_ui(port: int) -> Iterator[str]:
    """Run `mlflow ui` at the root until the block ends; gives its address."""
    port = free_port(port)
    url = f"http://127.0.0.1:{port}"
    command = ["mlflow", "ui", "--port", str(port), "--workers", "1"]
    # Trivet needs none of the seven job processes that MLflow would start beside it.
    with server("mlflow", command, ROOT, None, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}):
        yield url


def free_port(wanted: int) -> int:
    """Return the wanted port of the loopback interface, or another one where it is taken."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            with contextlib.closing(socket.socket()) as other:
                other.bind(("127.0.0.1", 0))
                free = int(other.getsockname()[1])
            console.print(f"[yellow]Port {wanted} is in use; taking {free}.[/]")
            return free
    return wanted


@contextlib.contextmanager
def server(
    name: str, command: Sequence[str], folder: Path, ready: str | None, more: Mapping[str, str]
) -> Iterator[None]:
    """Run a command until the block ends, its output in a log of this name.

    `ready`: the address that answers 200 once it is; None: nobody waits. `more`: its variables.
    """
    log = ROOT / ".trivet" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as out:
        # A session of its own: Ctrl-C in the terminal reaches this process, which then ends the
        # servers in order.
        process = subprocess.Popen(  # noqa: S603 - the example's own servers
            command,
            cwd=folder,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if ready is not None:
            _wait_until_ready(process, ready, log)
        yield
    finally:
        _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(0.2)
    console.print(log.read_text()[-4000:], markup=False)
    why = "ended" if process.poll() is not None else f"was not ready in {STARTING_SECONDS} s"
    raise SystemExit(f"The server {why}; its log is {log.relative_to(ROOT)}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
