"""Requests at a rate, over kept connections, and what became of each: what a trial of a gateway sends.

An open loop: a request leaves when it is due, whatever became of those before it, and its time counts
from that moment, so that a server which stalls is charged for all who come meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

GIVE_UP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of one request."""

    due: float
    """By `time.monotonic`."""
    milliseconds: float
    status: int
    """0: there was no answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By names in lower case."""
    body: bytes = b""


@dataclass(slots=True, kw_only=True)
class Offer:
    """Requests that are to be sent to one address."""

    port: int
    path: str = "/predict"
    body: bytes = b"{}"
    host: str = "127.0.0.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    _idle: deque[_Connection] = field(default_factory=deque, init=False)

    def at_rate(self, rate: float, requests: int, *, seed: int = 1) -> tuple[Reply, ...]:
        """Send so many a second, with the gaps of independent callers; return replies in that order."""
        return asyncio.run(self._send_all(_schedule(rate, requests, seed)))

    def in_turn(self, requests: int, callers: int) -> tuple[Reply, ...]:
        """Have some callers send so many altogether, each its next one when it has its answer."""
        return asyncio.run(self._call(requests, callers))

    async def send(self, due: float | None = None) -> Reply:
        """Send one now."""
        due = time.monotonic() if due is None else due
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                status, headers, body = await self._exchange()
        except (OSError, ValueError, EOFError, TimeoutError):
            status, headers, body = 0, {}, b""
        took = 1000 * (time.monotonic() - due)
        return Reply(due=due, milliseconds=took, status=status, headers=headers, body=body)

    async def _send_all(self, schedule: Sequence[float]) -> tuple[Reply, ...]:
        began = time.monotonic()
        tasks = []
        for moment in schedule:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            tasks.append(asyncio.create_task(self.send(began + moment)))
        replies = await asyncio.gather(*tasks)
        await self.close()
        return tuple(replies)

    async def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            await self._idle.pop().close()

    async def _call(self, requests: int, callers: int) -> tuple[Reply, ...]:
        left = iter(range(requests))

        async def caller() -> list[Reply]:
            return [await self.send() for _ in left]

        replies = await asyncio.gather(*(caller() for _ in range(callers)))
        await self.close()
        return tuple(reply for own in replies for reply in own)

    async def _exchange(self) -> tuple[int, dict[str, str], bytes]:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            answer = await connection.exchange(self._request())
        except BaseException:
            await connection.close()
            raise
        if answer[1].get("connection", "").lower() == "close":
            await connection.close()
        else:
            self._idle.append(connection)
        return answer

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_connection(self.host, self.port))

    def _request(self) -> bytes:
        fields = {
            "Host": f"{self.host}:{self.port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body)),
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclass(slots=True)
class _Connection:
    """One kept connection, with at most one request under way."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        parts = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in parts}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split(" ")[1]), headers, body

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


def _schedule(rate: float, requests: int, seed: int) -> list[float]:
    gaps, moment, due = random.Random(seed), 0.0, []  # noqa: S311 - a schedule
    for _ in range(requests):
        moment += gaps.expovariate(rate)
        due.append(moment)
    return due


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile of at least one value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
