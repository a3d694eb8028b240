"""Open loop: requests leave when they are due, whatever became of those before them.

    python -m benchmarks.serving.openloop --port 3000 --path /predict --bodies FILE --rate 2000

A latency counts from the moment at which its request was due, so a server that stalls is charged for
all who would have come meanwhile. Arrivals are those of independent callers (exponential gaps, the
same ones for every server). One thread on plain sockets, which are used in turn, so that they reach
every worker; `late_p99_ms` is how far behind the schedule the generator itself was, and `cpu_share`
how much of a core it took.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_DRAIN_SECONDS = 10.0
_SET_TIMER_SLACK = 29  # prctl's: how late the kernel may wake this thread, in nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """What one run found; milliseconds from the moments at which requests were due."""

    rate: float
    requests: int
    failed: int
    """Answered by another status than 2xx, or not at all."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float
    cpu_share: float


class Caller:
    """One kept connection, with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.got = b""
        """What has come of the answer."""
        self._whole = 0

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at a moment; the one before has been answered."""
        self.due, self.got, self._whole = due, b"", 0
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Take what has come; return the status once the answer is whole."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed a connection under a request")
        self.got += part
        if not self._whole:
            head = self.got.find(b"\r\n\r\n")
            if head < 0:
                return None
            self._whole = head + 4 + _length(self.got[:head])
        return int(self.got[9:12]) if len(self.got) >= self._whole else None

    def fileno(self) -> int:
        """Return the socket's, for `select`."""
        return self.socket.fileno()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("the server answers without Content-Length, which this client does not read")


def requests_of(bodies: Sequence[bytes], host: str, port: int, path: str) -> list[bytes]:
    """Return the bytes of a POST for each body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    return [
        head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies if body
    ]


def schedule(rate: float, seconds: float, seed: int) -> list[float]:
    """Return when requests are due, in seconds from the start."""
    gaps = random.Random(seed)  # noqa: S311 - a schedule
    due, moment = [], 0.0
    while (moment := moment + gaps.expovariate(rate)) < seconds:
        due.append(moment)
    return due


def run(
    host: str,
    port: int,
    path: str,
    bodies: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = 64,
    seed: int = 1,
) -> Latencies:
    """Send at a rate, and return how long answers took from the moments at which they were due."""
    requests = requests_of(bodies, host, port, path)
    idle = deque(Caller(host, port) for _ in range(connections))
    everyone = list(idle)
    gc.collect()
    gc.disable()
    worked, began = time.process_time(), time.perf_counter() + 0.01
    try:
        took, late, failed = _drive(
            requests, idle, [began + m for m in schedule(rate, seconds, seed)]
        )
    finally:
        gc.enable()
        for caller in everyone:
            caller.socket.close()
    spent = time.perf_counter() - began
    share = (time.process_time() - worked) / spent
    milliseconds = sorted(1000 * t for t in took)
    return Latencies(
        rate=rate,
        requests=len(took),
        failed=failed,
        p50_ms=_quantile(milliseconds, 0.50),
        p90_ms=_quantile(milliseconds, 0.90),
        p99_ms=_quantile(milliseconds, 0.99),
        max_ms=milliseconds[-1],
        late_p99_ms=1000 * _quantile(sorted(late), 0.99),
        cpu_share=share,
    )


def _drive(
    requests: list[bytes], idle: deque[Caller], due: list[float]
) -> tuple[list[float], list[float], int]:
    took: list[float] = []
    late: list[float] = []
    waiting: deque[float] = deque()
    busy: set[Caller] = set()
    at, failed, end = 0, 0, due[-1] + _DRAIN_SECONDS
    while at < len(due) or waiting or busy:
        now = time.perf_counter()
        if now > end:
            return took, late, failed + len(waiting) + len(busy)
        while at < len(due) and due[at] <= now:
            late.append(now - due[at])
            waiting.append(due[at])
            at += 1
        while waiting and idle:
            caller = idle.popleft()
            caller.send(requests[(len(took) + len(busy)) % len(requests)], waiting.popleft())
            busy.add(caller)
        left = due[at] - time.perf_counter() if at < len(due) else 0.1
        for caller in select.select(list(busy), [], [], max(0.0, left))[0]:
            status = caller.receive()
            if status is None:
                continue
            took.append(time.perf_counter() - caller.due)
            failed += not 200 <= status < 300  # noqa: PLR2004 - HTTP's
            busy.remove(caller)
            idle.append(caller)
    return took, late, failed


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Run once, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)
    bodies = options.bodies.read_bytes().splitlines()
    found = run(
        "127.0.0.1",
        options.port,
        options.path,
        bodies,
        rate=options.rate,
        seconds=options.seconds,
        seed=options.seed,
    )
    json.dump(asdict(found), sys.stdout)


if __name__ == "__main__":
    main()
