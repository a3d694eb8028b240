"""An MLflow server as a real process, which keeps artifacts itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from contract.servers import free_port
from waiting import wait_or_kill

_SECONDS = 120


@contextmanager
def mlflow_server(folder: Path, empty_registry: Path) -> Iterator[str]:
    """Run it with its database and artifacts in a folder, and give its address.

    Args:
        folder: of its own.
        empty_registry: the database that it begins with.
    """
    shutil.copyfile(empty_registry, folder / "there.db")
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{folder / 'there.db'}"]
    options += ["--artifacts-destination", str(folder / "artifacts")]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    with (folder / "log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "mlflow", "server", *options],
            cwd=folder,
            env=kept | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, folder / "log")
        yield url
    finally:
        started = [*process.children(recursive=True), process]
        for each in started:
            each.terminate()
        left = wait_or_kill(started, within=20)
        assert not left


def _wait(url: str, process: psutil.Popen, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
