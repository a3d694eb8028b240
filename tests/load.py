"""Requests at a steady rate, whatever becomes of those before them; each one's fate is kept.

Beside them a probe asks a service again and again whether it is ready.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

_GIVE_UP = 30.0
"""Seconds: far beyond any deadline of a service. What hangs is to be seen, not to be waited out."""
_PROBE_EVERY = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request: when it was sent, how long it took, and what came back."""

    at: float
    seconds: float
    status: int
    """0: there was no answer; `document` says why."""
    document: Any
    media_type: str = ""
    retry_after: str | None = None
    replica: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One answer of `/readyz`: when it was asked for, how long it took, and its status."""

    at: float
    seconds: float
    status: int


@dataclass(slots=True)
class Load:
    """Sends a body at a rate from a thread of its own, as long as the block lasts."""

    url: str
    body: dict[str, Any]
    rate: float
    """Requests a second."""
    sent: list[Sent] = field(default_factory=list)
    probed: list[Probed] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def between(self, start: float, end: float) -> list[Sent]:
        """Return the requests that were sent in an interval."""
        return [one for one in list(self.sent) if start <= one.at < end]

    def probes(self, start: float, end: float) -> list[Probed]:
        """Return the answers of `/readyz` that were asked for and given in an interval."""
        return [o for o in list(self.probed) if start <= o.at and o.at + o.seconds < end]

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop, after the requests under way."""
        self._stopped.set()
        assert self._thread is not None
        self._thread.join()

    async def _run(self) -> None:
        # aiohttp and not httpx: httpx's pool keeps a request waiting for seconds, whatever the
        # service does, when hundreds of connections have come and gone.
        connections = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(
                self.url, connector=connections, timeout=aiohttp.ClientTimeout(total=_GIVE_UP)
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._probe(client))
            started, number = time.monotonic(), 0
            while not self._stopped.is_set():
                tasks.create_task(self._send(client))
                number += 1
                await asyncio.sleep(max(0.0, started + number / self.rate - time.monotonic()))

    async def _send(self, client: aiohttp.ClientSession) -> None:
        at = time.monotonic()
        try:
            async with client.post("/predict", json=self.body) as answer:
                document = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as err:
            self.sent.append(
                Sent(at=at, seconds=time.monotonic() - at, status=0, document=repr(err))
            )
            return
        self.sent.append(
            Sent(
                at=at,
                seconds=time.monotonic() - at,
                status=answer.status,
                document=document,
                media_type=answer.headers.get("Content-Type", ""),
                retry_after=answer.headers.get("Retry-After"),
                replica=answer.headers.get("X-Trivet-Replica"),
            )
        )

    async def _probe(self, client: aiohttp.ClientSession) -> None:
        # A new connection each time: one that is kept asks the same worker again and again.
        while not self._stopped.is_set():
            at = time.monotonic()
            async with client.get("/readyz", headers={"Connection": "close"}) as answer:
                status = answer.status
            took = time.monotonic() - at
            self.probed.append(Probed(at=at, seconds=took, status=status))
            await asyncio.sleep(_PROBE_EVERY)


def statuses(sent: Iterable[Sent]) -> Counter[int]:
    """Count answers by status."""
    return Counter(one.status for one in sent)
