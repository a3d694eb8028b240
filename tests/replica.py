"""A replica in a process of its own, for a gateway: as slow and as broken as a test wants it.

    python -m tests.replica --port 3001 --name a --delay 0.005 --at-once 8 --journal FILE

It writes a line to its journal when it has computed an answer and another one when it has given it to
the kernel; the lines of a process that is killed stay. `/fail` answers 500; `/unready` makes `/readyz`
answer 503 from then on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_ROOT = Path(__file__).resolve().parents[1]
_READY_SECONDS = 20.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True, kw_only=True)
class Replica:
    """Starts one, as long as the block lasts."""

    name: str
    folder: Path
    delay: float = 0.0
    """Seconds that an answer takes."""
    at_once: int = 1000
    """Answers that are computed at the same time."""
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def journal(self) -> Path:
        """Where it writes what it did."""
        return self.folder / f"{self.name}.journal"

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "tests.replica", "--port", str(self.port)]
        command += ["--name", self.name, "--delay", str(self.delay)]
        command += ["--at-once", str(self.at_once), "--journal", str(self.journal)]
        self._process = subprocess.Popen(command, cwd=_ROOT)
        end = time.monotonic() + _READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert self._process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
            else:
                return self

    def kill(self) -> None:
        """End it at once, with what it has under way."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Make it hang: it is there, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def events(self, what: str) -> Counter[str]:
        """Count by request id what it `computed` or `answered`."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return Counter(line.partition(" ")[2] for line in lines if line.startswith(what))

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *raised: object) -> None:
        """End it, and no other."""
        self.kill()


def events(replicas: Iterable[Replica], what: str) -> Counter[str]:
    """Count by request id what several have `computed` or `answered`."""
    return sum((one.events(what) for one in replicas), Counter())


class _Served:
    def __init__(self, options: argparse.Namespace) -> None:
        self.name: str = options.name
        self.delay: float = options.delay
        self.places = asyncio.Semaphore(options.at_once)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.journal = os.open(options.journal, flags)
        self.ready = True

    def note(self, what: str, request_id: str) -> None:
        os.write(self.journal, f"{what} {request_id}\n".encode())

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (x.partition(":") for x in lines)}
                await reader.readexactly(int(headers.get("content-length", 0)))
                path, own = first.split(" ")[1], headers.get("x-request-id", "-")
                status, document = await self.answer(path, own)
                self.write(writer, status, document, own)
                if path not in {"/readyz", "/livez"}:
                    self.note("answered", own)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, own: str) -> tuple[int, dict[str, object]]:
        if path == "/unready":
            self.ready = False
        if path in {"/readyz", "/unready"}:
            return (200 if self.ready else 503), {"ready": self.ready}
        async with self.places:
            await asyncio.sleep(self.delay)
        self.note("computed", own)
        return (500 if path == "/fail" else 200), {"replica": self.name, "path": path}

    def write(
        self, writer: asyncio.StreamWriter, status: int, document: dict[str, object], own: str
    ) -> None:
        body = json.dumps(document).encode()
        writer.write(
            f"HTTP/1.1 {status} Tiny\r\nContent-Length: {len(body)}\r\nX-Request-Id: {own}\r\n"
            f"Content-Type: application/json\r\nX-Trivet-Replica: {self.name}\r\n\r\n".encode()
            + body
        )


async def _serve(options: argparse.Namespace) -> None:
    served = _Served(options)
    server = await asyncio.start_server(
        served.connection, "127.0.0.1", options.port, limit=1 << 20, backlog=1024
    )
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--journal", required=True)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
