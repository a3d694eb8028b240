"""What was answered and what is under way is told now and then, and adds up over the workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trivet.serving.telling import Telling, forget_the_dead

_WORKER = """
import os, sys
from trivet.serving.metrics import Metrics
Metrics("shop").in_flight(int(sys.argv[1]))
print("counted", flush=True)
sys.stdin.read()
os._exit(0)
"""

_SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def worker(folder: Path, requests: int) -> subprocess.Popen[str]:
    """Start a worker that has some requests under way, and wait until it has said so."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(requests)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def scraped(folder: Path) -> str:
    """Return what `/metrics` shows of it."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRAPE],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = [
        line for line in done.stdout.splitlines() if line.startswith("trivet_requests_in_flight{")
    ]
    return line


def test_workers_are_added_up_and_one_that_was_killed_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its requests failed with it; by the time that another takes its place, they count no more."""
    workers = [worker(tmp_path, 3), worker(tmp_path, 4)]
    try:
        assert scraped(tmp_path) == 'trivet_requests_in_flight{model="shop"} 7.0'
        workers[0].kill()
        workers[0].wait()
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        forget_the_dead()
        assert scraped(tmp_path) == 'trivet_requests_in_flight{model="shop"} 4.0'
    finally:
        for process in workers:
            process.kill()
            process.communicate()


def test_without_a_folder_for_several_workers_there_is_nothing_to_forget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a worker of a test."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    forget_the_dead()


class Book:
    """Notes what it is told, and refuses the first time if it is to."""

    def __init__(self, *, refuses: bool = False) -> None:
        """Nothing yet."""
        self.flushes = 0
        self.numbers: list[int] = []
        self._refuses = refuses

    def flush(self) -> None:
        """Count the calls."""
        self.flushes += 1
        if self._refuses and self.flushes == 2:
            raise OSError("no space left")

    def in_flight(self, requests: int) -> None:
        """Note a number."""
        self.numbers.append(requests)


def test_what_was_answered_is_told_each_time_and_the_number_when_it_is_another() -> None:
    """The number at the start too, so that there is one."""
    book, counts = Book(), iter([0, 0, 5, 5, 0])
    telling = Telling(book, lambda: next(counts))
    for _ in range(5):
        telling.look()
    assert (book.flushes, book.numbers) == (5, [0, 5, 0])


def test_what_is_left_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that was full for a moment ends nothing."""
    book = Book(refuses=True)
    telling = Telling(book, lambda: 0)
    telling.start()
    deadline = time.monotonic() + 10
    while book.flushes < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = book.flushes
    telling.stop()
    assert book.flushes > before
    assert "numbers could not be told" in caplog.text
