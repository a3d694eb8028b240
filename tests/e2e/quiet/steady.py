"""A steady load as a process of its own: what became of each request, a line of JSON each.

    python tests/e2e/quiet/steady.py PORT RATE SECONDS FIRST_USER

Requests leave when they are due, whatever became of those before them; a latency counts from then. Each
is about another user, with a number that is 2.0 or -2.0.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass

_CONNECTIONS = 48
_GIVE_UP = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one request."""

    at: float
    """When it was due, by the machine's monotonic clock."""
    seconds: float
    status: int
    version: int | None
    right: bool
    """Whether it was put into the class that the good version puts it into."""
    in_place_of: str | None


class _Caller:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due, self.x, self._got = 0.0, 0.0, b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, due: float, user: int) -> None:
        self.due, self.x, self._got = due, 2.0 if user % 2 else -2.0, b""
        body = json.dumps({"instances": [{"user": user, "x": self.x}]}).encode()
        head = "POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        self.socket.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def receive(self) -> Fate | None:
        part = self.socket.recv(1 << 16)
        if not part:
            raise ConnectionError("the service closed a connection under a request")
        self._got += part
        head, gap, body = self._got.partition(b"\r\n\r\n")
        if not gap:
            return None
        lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
        headers = {name.lower(): value for name, _, value in lines}
        if len(body) < int(headers["content-length"]):
            return None
        return self._fate(int(head[9:12]), headers, json.loads(body))

    def _fate(self, status: int, headers: dict[str, str], document: dict) -> Fate:
        ok = status == 200
        return Fate(
            at=self.due,
            seconds=time.monotonic() - self.due,
            status=status,
            version=document["model"]["version"] if ok else None,
            right=ok and (document["predictions"][0]["class_name"] == "above") == (self.x > 0),
            in_place_of=headers.get("x-trivet-in-place-of"),
        )


def main(port: int, rate: float, seconds: float, user: int) -> None:
    """Send, then print."""
    idle = deque(_Caller(port) for _ in range(_CONNECTIONS))
    busy: set[_Caller] = set()
    fates: list[Fate] = []
    began, sent = time.monotonic() + 0.1, 0
    total = int(rate * seconds)
    while sent < total or busy:
        now = time.monotonic()
        assert now < began + seconds + _GIVE_UP, f"{len(busy)} requests were never answered"
        while sent < total and began + sent / rate <= now and idle:
            caller = idle.popleft()
            caller.send(began + sent / rate, user + sent)
            busy.add(caller)
            sent += 1
        left = began + sent / rate - time.monotonic() if sent < total and idle else 0.1
        for caller in select.select(list(busy), [], [], max(0.0, left))[0]:
            if (fate := caller.receive()) is not None:
                fates.append(fate)
                busy.remove(caller)
                idle.append(caller)
    for fate in fates:
        sys.stdout.write(json.dumps(asdict(fate)) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
