"""Asks Trivet's routes over HTTP, without a server: a worker's parts, and a client of its front."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from trivet.serving.dataplane import DataPlane
from trivet.serving.front import Front
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Entry
from trivet.settings import Settings
from unit.fakes import NOON, FakeRecorder, filled_slot, settings

MOST_BYTES = 2000


@dataclass
class FakeLog:
    """Remembers what was logged."""

    entries: list[Entry] = field(default_factory=list)

    def record(self, entry: Entry) -> None:
        """Remember a batch."""
        self.entries.append(entry)


class Served:
    """A worker's parts, with versions 2 (the champion) and 1 unless a test brings its own."""

    def __init__(self, folder: Path, *versions: Version) -> None:
        """Wire them."""
        self.settings: Settings = settings(folder, max_rows=5, max_body_bytes=MOST_BYTES)
        self.slot = filled_slot(folder, *versions)
        self.recorder = FakeRecorder()
        self.log = FakeLog()
        self.dataplane = DataPlane(self.slot, self.settings, lambda: NOON, self.recorder, self.log)

    async def is_ready(self) -> bool:
        """Say whether there is a champion."""
        return self.slot.loaded.champion is not None


class Client:
    """Asks a front, before an app with a page of its own, from outside of any event loop."""

    def __init__(self, served: Any) -> None:
        """`served`: a worker's parts."""
        behind = Starlette(routes=[Route("/", lambda _: PlainTextResponse("a page"))])
        front = Front(behind, lambda: served, lambda: {"paths": {}})
        self._transport = httpx.ASGITransport(front)

    def get(self, path: str) -> httpx.Response:
        """Send a GET request."""
        return asyncio.run(self._send("GET", path))

    def post(self, path: str, **sent: Any) -> httpx.Response:
        """Send a POST request."""
        return asyncio.run(self._send("POST", path, **sent))

    async def _send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://here") as client:
            return await client.request(method, path, **sent)
