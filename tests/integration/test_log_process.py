"""A worker's log in a process of its own: whatever happens to either of the two."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration.logging_process import KEPT, entry, plain
from integration.test_prediction_log import finish, names, project, start, wait
from trivet.logged import log_folder, open_folder
from trivet.serving.log import sender
from trivet.serving.log.entry import Entry
from trivet.serving.log.sender import LogSender

CONTRACT = plain()
DIGEST = CONTRACT.digest


class Counts:
    """Counts what was logged, and what was lost and why."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.written = 0
        self.lost: dict[str, int] = {}

    def logged(self, rows: int) -> None:
        """Count written rows."""
        self.written += rows

    def unlogged(self, rows: int, reason: str) -> None:
        """Count lost rows."""
        self.lost[reason] = self.lost.get(reason, 0) + rows


class Worker:
    """A worker with nothing but its log."""

    def __init__(self, folder: Path, **changes: object) -> None:
        """Start the log."""
        settings = project(folder).model_copy(update={"log_flush_seconds": 0.02, **changes})
        self.counts = Counts()
        self.log = LogSender(settings, "shop", self.counts)
        self.log.start()
        self.asked = 0

    def answer(self, requests: int) -> None:
        """Log requests of one row."""
        for _ in range(requests):
            self.log.record(request(self.asked))
            self.asked += 1

    @property
    def writer(self) -> psutil.Process:
        """The process that writes."""
        return next(
            child
            for child in psutil.Process().children()
            if "trivet.serving.log.receiver" in child.cmdline()
        )


def request(number: int) -> Entry:
    """Return the entry of one request of one row."""
    return entry(CONTRACT, DIGEST, f"w-{number}", number, 1)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker that has logged ten rows, and stop it at the end."""
    made = Worker(tmp_path)
    made.answer(10)
    wait(lambda: made.counts.written == 10)
    yield made
    made.log.close()


def test_all_is_written_and_the_process_gone_when_the_worker_stops(tmp_path: Path) -> None:
    """Once each, in finished segments."""
    worker = Worker(tmp_path)
    worker.answer(3000)
    writer = worker.writer
    worker.log.close()
    assert (worker.counts.written, worker.counts.lost) == (3000, {})
    assert len(set(names(tmp_path))) == 3000
    assert not writer.is_running()
    assert not list(open_folder(log_folder(tmp_path, "shop")).iterdir())


def test_what_a_killed_worker_has_sent_is_written(tmp_path: Path) -> None:
    """Without a hole before its end, and with no process left behind."""
    killed = start(tmp_path, "w", 10_000_000, rate=2000, apart="yes")
    opened = open_folder(log_folder(tmp_path, "shop"))
    wait(lambda: bool(list(opened.glob("*.arrow"))))
    (writer,) = psutil.Process(killed.pid).children()
    time.sleep(1)
    flushed = len(names(tmp_path))
    killed.kill()
    killed.communicate()
    writer.wait(20)
    numbers = sorted(int(name.partition("-")[2]) for name, _ in names(tmp_path))
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= flushed > 0
    assert not list(opened.iterdir())


def test_a_worker_starts_though_its_user_may_have_no_more_of_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Linux answers once a user's pipes have 64 MiB: after some 32 workers on one machine."""
    real, refused = fcntl.fcntl, []

    def limited(file: Any, command: int, *arguments: Any) -> Any:
        if command == fcntl.F_SETPIPE_SZ:
            refused.append(file)
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return real(file, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", limited)
    worker = Worker(tmp_path)
    worker.answer(300)
    worker.log.close()
    assert refused
    assert (worker.counts.written, worker.counts.lost) == (300, {})


def test_two_workers_write_at_once(tmp_path: Path) -> None:
    """Each through a process of its own."""
    counts = [finish(start(tmp_path, name, 5000, apart="yes")) for name in ("a", "b")]
    assert [count["written"] for count in counts] == [5000, 5000]
    assert len(set(names(tmp_path))) == 10_000


def test_a_signal_to_stop_does_not_end_the_process_before_its_input(
    worker: Worker, tmp_path: Path
) -> None:
    """Ctrl-C in a terminal, or a supervisor that signals everything: the worker has more to say."""
    for number in (signal.SIGINT, signal.SIGTERM):
        worker.writer.send_signal(number)
    worker.answer(10)
    worker.log.close()
    assert (worker.counts.written, worker.counts.lost) == (20, {})
    assert len(names(tmp_path)) == 20


def test_a_process_that_was_killed_is_started_again_and_what_it_had_is_counted(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had flushed is recovered by the next; no row is there twice."""
    monkeypatch.setattr(sender, "_AGAIN_SECONDS", 0.1)
    writer = worker.writer
    writer.suspend()
    worker.answer(5)
    time.sleep(0.3)
    writer.kill()
    worker.answer(10)
    wait(lambda: worker.counts.written + sum(worker.counts.lost.values()) == 25)
    worker.answer(10)
    worker.log.close()
    assert set(worker.counts.lost) == {"process"}
    assert 5 <= worker.counts.lost["process"] <= 15
    assert worker.counts.written == 35 - worker.counts.lost["process"]
    found = names(tmp_path)
    assert len(found) == len(set(found)) == worker.counts.written
    assert {f"w-{number}" for number in (*range(10), *range(25, 35))} <= {name for name, _ in found}


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Refuse the next three processes, as a machine without memory for them does; return which."""
    monkeypatch.setattr(sender, "_AGAIN_SECONDS", 0.05)
    real, refused = subprocess.Popen, []

    def start(*arguments: Any, **options: Any) -> Any:
        if len(refused) < 3:
            refused.append(arguments)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    return refused


def test_a_process_that_cannot_be_started_again_is_tried_until_it_can(
    worker: Worker, crowded: list[Any], tmp_path: Path
) -> None:
    """As on a machine that has no memory or no process left for a while."""
    worker.writer.kill()
    wait(lambda: offered(worker, lambda: worker.counts.written > 10))
    worker.log.close()
    assert len(crowded) == 3
    assert worker.counts.written + sum(worker.counts.lost.values()) == worker.asked
    assert len(set(names(tmp_path))) == worker.counts.written


def test_a_worker_starts_though_no_process_can_be_started_for_its_log(
    tmp_path: Path, crowded: list[Any]
) -> None:
    """What it answers meanwhile waits, and is logged once one can."""
    worker = Worker(tmp_path)
    worker.answer(10)
    wait(lambda: worker.counts.written == 10)
    worker.log.close()
    assert len(crowded) == 3
    assert len(set(names(tmp_path))) == 10


def test_a_process_that_does_not_keep_up_costs_rows_and_no_memory(tmp_path: Path) -> None:
    """What waits beyond the setting is dropped and counted; requests are not held up."""
    worker = Worker(tmp_path, log_queue_rows=100)
    worker.answer(1)
    wait(lambda: worker.counts.written == 1)
    writer = worker.writer
    writer.suspend()
    began = time.monotonic()
    worker.answer(5000)
    assert time.monotonic() - began < 5
    assert worker.counts.lost == {"queue": 4900}
    writer.resume()
    wait(lambda: worker.counts.written == 101)
    worker.log.close()
    assert len(names(tmp_path)) == 101


def test_a_full_disk_is_said_to_the_worker_and_passes(tmp_path: Path) -> None:
    """Rows that were lost meanwhile are counted as the disk's."""
    worker = Worker(tmp_path, log_queue_rows=100)
    worker.answer(1)
    wait(lambda: worker.counts.written == 1)
    pid, most = worker.writer.pid, resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (KEPT // 8, most))
    wait(lambda: offered(worker, lambda: "disk" in worker.counts.lost))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    before = worker.counts.written
    wait(lambda: offered(worker, lambda: worker.counts.written > before))
    worker.log.close()
    assert worker.counts.written + sum(worker.counts.lost.values()) == worker.asked
    assert len(set(names(tmp_path))) == worker.counts.written


def offered(worker: Worker, holds: Callable[[], bool]) -> bool:
    """Answer a few requests more, and say whether it holds by now."""
    worker.answer(10)
    return holds()


def test_a_prediction_that_cannot_be_sent_does_not_take_others_with_it(
    worker: Worker, tmp_path: Path
) -> None:
    """It is counted as unfit, and the rest is logged."""
    odd = replace(request(10), predictions=[{"value": lambda: None}])
    for one in (odd, request(11), request(12)):
        worker.log.record(one)
    worker.log.close()
    assert (worker.counts.written, worker.counts.lost) == (12, {"unfit": 1})
    assert ("w-12", 0) in names(tmp_path)


def test_what_comes_after_a_first_prediction_that_cannot_be_sent_is_logged(tmp_path: Path) -> None:
    """Its contract still goes over, with the first one that can be sent."""
    worker = Worker(tmp_path)
    worker.log.record(replace(request(0), predictions=[{"value": lambda: None}]))
    wait(lambda: worker.counts.lost == {"unfit": 1})
    writer = worker.writer
    worker.answer(3)
    wait(lambda: worker.counts.written == 3)
    assert worker.writer == writer
    worker.log.close()
    assert (worker.counts.written, worker.counts.lost) == (3, {"unfit": 1})


def test_the_process_lets_its_worker_go_first(worker: Worker) -> None:
    """A row costs as much as a tenth of an answer."""
    assert worker.writer.nice() > psutil.Process().nice()
    assert os.sched_getscheduler(worker.writer.pid) == os.SCHED_BATCH
