"""Requests that leave when they are due, from a process of its own, and what became of each.

    python -m steady --port 3000 --body FILE --rate 300 > answers

It sends until its standard input ends, and writes a line a request: when it was due, when that was
noticed, when its answer had come (all by `time.monotonic`, which processes of a machine share), status,
version and replica. How late the generator itself was is the difference of the first two, and is kept
apart from how long the service took.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import random
import re
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

import orjson

from benchmarks.serving.openloop import Caller, requests_of

_SET_TIMER_SLACK = 29
_GIVE_UP = 30.0
_VERSION = re.compile(rb'"version":(\d+)\}')
_REPLICA = re.compile(rb"x-trivet-replica: *(\S+)", re.IGNORECASE)
_USES = 50
"""Requests of one connection: workers share a socket, so one that is idle may accept a whole crowd of
connections, and the others would not be asked for as long as those are kept."""
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what became of it."""

    due: float
    seen: float
    """When the generator noticed that it was due; from then on it is the service that takes."""
    done: float
    status: int
    """0: there was no answer."""
    version: int | None
    replica: str

    @property
    def milliseconds(self) -> float:
        """How long the service took, waits for a free connection included."""
        return 1000 * (self.done - self.seen)

    @property
    def late(self) -> float:
        """How late the generator was, in milliseconds."""
        return 1000 * (self.seen - self.due)


@dataclass(slots=True)
class Steady:
    """The generator, as long as the block lasts."""

    port: int
    body: dict[str, Any]
    rate: float
    """Requests a second."""
    folder: Path
    path: str = "/predict"
    connections: int = 64
    answers: list[Answer] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _lines: TextIO | None = None
    _rest: str = ""

    def look(self) -> list[Answer]:
        """Return all answers that have come so far."""
        assert self._lines is not None
        whole, _, self._rest = (self._rest + self._lines.read()).rpartition("\n")
        self.answers += map(_parsed, whole.splitlines())
        return self.answers

    def settle(self, version: int, workers: int, within: float) -> float:
        """Wait until a version alone answers, in every worker; return when another one last did.

        That is when its request was sent, for who asks later gets the new one.
        """
        deadline = time.monotonic() + within
        while True:
            recent = self.look()[-(16 * workers) :]
            alone = {one.version for one in recent} == {version}
            if alone and len({one.replica for one in recent}) == workers:
                break
            assert time.monotonic() < deadline, f"version {version} does not answer alone"
            time.sleep(0.01)
        return max((o.seen for o in self.answers[-4000:] if o.version != version), default=0.0)

    def between(self, start: float, end: float) -> list[Answer]:
        """Return the requests that were due in an interval."""
        return [one for one in self.answers if start <= one.due < end]

    def __enter__(self) -> Self:
        """Begin to send, and wait for the first answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        body, out = self.folder / "body.json", self.folder / "answers"
        body.write_bytes(orjson.dumps(self.body))
        command = [sys.executable, "-m", "tests.steady", "--port", str(self.port)]
        command += ["--body", str(body), "--rate", str(self.rate), "--path", self.path]
        command += ["--connections", str(self.connections)]
        with out.open("wb") as answers:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=answers
            )
        self._lines = out.open()
        while not self.look():
            assert self._process.poll() is None
            time.sleep(0.01)
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop, after the requests under way."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._lines is not None
        self._process.stdin.close()
        self._process.wait(_GIVE_UP + 10)
        self.look()
        self._lines.close()


def quantile(values: Iterable[float], share: float) -> float:
    """Return a quantile of at least one value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _parsed(line: str) -> Answer:
    due, seen, done, status, version, replica = line.split(" ")
    return Answer(float(due), float(seen), float(done), int(status), int(version) or None, replica)


class _Sender:
    """Sends what is due over kept connections that are used in turn, and renewed now and then."""

    def __init__(self, port: int, path: str, body: bytes, connections: int) -> None:
        self._port = port
        (self._request,) = requests_of([body], "127.0.0.1", port, path)
        self._idle = deque(Caller("127.0.0.1", port) for _ in range(connections))
        # They begin at different ages, else they would all be renewed at once.
        self._uses: dict[Caller, int] = {one: n % _USES for n, one in enumerate(self._idle)}
        self._busy: dict[Caller, tuple[float, float]] = {}
        self._waiting: deque[tuple[float, float]] = deque()

    def take(self, due: float, seen: float) -> None:
        self._waiting.append((due, seen))

    @property
    def left(self) -> bool:
        return bool(self._waiting or self._busy)

    def send(self) -> None:
        while self._waiting and self._idle:
            caller, times = self._idle.popleft(), self._waiting.popleft()
            self._busy[caller] = times
            try:
                caller.send(self._request, times[0])
            except OSError:
                self._failed(caller)

    def receive(self, seconds: float) -> bool:
        """Take what has come; return whether standard input has ended."""
        ready = select.select([*self._busy, 0], [], [], max(0.0, seconds))[0]
        now = time.monotonic()
        for one in ready:
            if isinstance(one, Caller):
                self._take(one, now)
        for caller, (_, seen) in list(self._busy.items()):
            if now - seen > _GIVE_UP:
                self._failed(caller)
        return 0 in ready

    def _take(self, caller: Caller, now: float) -> None:
        try:
            status = caller.receive()
        except (OSError, ValueError):
            self._failed(caller)
            return
        if status is not None:
            due, seen = self._busy.pop(caller)
            version, replica = _VERSION.search(caller.got), _REPLICA.search(caller.got)
            _write(due, seen, now, status, version, replica)
            self._uses[caller] += 1
            # "close" is said by a proxy that is being replaced: the next request would be lost.
            if _CLOSE.search(caller.got) or self._uses[caller] >= _USES:
                self._renew(caller)
            else:
                self._idle.append(caller)

    def _failed(self, caller: Caller) -> None:
        due, seen = self._busy.pop(caller)
        _write(due, seen, time.monotonic(), 0, None, None)
        with contextlib.suppress(OSError):
            self._renew(caller)

    def _renew(self, caller: Caller) -> None:
        caller.socket.close()
        del self._uses[caller]
        another = Caller("127.0.0.1", self._port)
        self._uses[another] = 0
        self._idle.append(another)


def _write(  # noqa: PLR0917 - the columns of a line
    due: float,
    seen: float,
    done: float,
    status: int,
    version: re.Match[bytes] | None,
    replica: re.Match[bytes] | None,
) -> None:
    number = int(version[1]) if version else 0
    who = replica[1].decode() if replica else "-"
    sys.stdout.write(f"{due:.6f} {seen:.6f} {done:.6f} {status} {number} {who}\n")


def main() -> None:
    """Send until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)
    sender = _Sender(options.port, options.path, options.body.read_bytes(), options.connections)
    gaps, stopped = random.Random(1), False  # noqa: S311 - a schedule
    gc.collect()
    gc.disable()
    due = flushed = time.monotonic()
    while not stopped or sender.left:
        now = time.monotonic()
        while not stopped and due <= now:
            sender.take(due, now)
            due += gaps.expovariate(options.rate)
        sender.send()
        if now - flushed > 0.05:
            sys.stdout.flush()
            flushed = now
        # At the end standard input is always ready: a short sleep in its place.
        wait = min(due - time.monotonic(), 0.05)
        stopped = sender.receive(0.0 if stopped else wait) or stopped
        if stopped:
            time.sleep(0.001)


if __name__ == "__main__":
    main()
