"""HAProxy's sockets: one command, one answer; and what its statistics say, as objects."""

from __future__ import annotations

import csv
import io
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trivet.errors import GatewayFailed

_SECONDS = 5.0
_CHUNK = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """What HAProxy knows of one server since it was started or reloaded."""

    model: str
    server: str
    state: str
    """HAProxy's own word: UP, DOWN, MAINT, DRAIN, NOLB, or with a way to go, as in `UP 1/2`."""
    in_flight: int
    queued: int
    """Requests that wait for this very server; those that wait for any are in `ProxyStats.queued`."""
    requests: int
    """Requests that were handed to it, further tries included."""
    failed: int
    """Requests to which it gave no answer: no connection, or broken off."""
    server_errors: int
    """Answers of 500 and above."""
    retried: int
    redispatched: int
    answer_ms: int
    """Mean time to an answer, over the last 1,024 requests."""
    queue_ms: int
    """Mean wait in the gateway, over the same."""
    check: str
    """What the last readiness check found, such as L7OK or L4CON."""
    downs: int
    """How often it was found not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStats:
    """What HAProxy knew at one moment."""

    servers: tuple[ServerStats, ...]
    """In the configuration's order."""
    queued: dict[str, int]
    """For each model, the requests that wait for a place at one of its replicas, or at any."""


def ask(path: Path, command: str, *, seconds: float = _SECONDS) -> str:
    """Send one command to a socket of HAProxy's, and return its answer.

    Raises:
        GatewayFailed: nobody answers there.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            _connect(connection, path)
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(_CHUNK), b"")).decode()
    except OSError as err:
        raise GatewayFailed(f"does not answer `{command}`", str(err)) from err


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect by way of an open folder: a socket's path may have no more than 107 characters."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def rows(statistics: str) -> Iterator[dict[str, str]]:
    """Return the rows of `show stat`, by column."""
    yield from csv.DictReader(io.StringIO(statistics.removeprefix("# ")))


def proxy_stats(statistics: str, models: Mapping[str, str]) -> ProxyStats:
    """Read the answer to `show stat`; `models`: by the names of their backends, others are left out."""
    servers, queued = [], dict.fromkeys(models.values(), 0)
    for row in rows(statistics):
        model = models.get(row["pxname"])
        if model is None or row["svname"] == "FRONTEND":
            continue
        queued[model] += _count(row, "qcur")
        if row["svname"] != "BACKEND":
            servers.append(_server_stats(row, model))
    return ProxyStats(servers=tuple(servers), queued=queued)


def _server_stats(row: dict[str, str], model: str) -> ServerStats:
    def count(column: str) -> int:
        return _count(row, column)

    return ServerStats(
        model=model,
        server=row["svname"],
        state=row["status"],
        in_flight=count("scur"),
        queued=count("qcur"),
        requests=count("stot"),
        failed=count("econ") + count("eresp"),
        server_errors=count("hrsp_5xx"),
        retried=count("wretr"),
        redispatched=count("wredis"),
        answer_ms=count("ttime"),
        queue_ms=count("qtime"),
        check=row.get("check_status") or "",
        downs=count("chkdown"),
    )


def _count(row: dict[str, str], column: str) -> int:
    return int(row.get(column) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A server's line of `show servers state`: what a reload is to keep of it."""

    backend: str
    server: str
    address: tuple[str, int]
    maintained: bool
    line: str


def kept(state: str) -> tuple[str, tuple[Kept, ...]]:
    """Read `show servers state`: its two lines of heading, and a line for each server.

    The columns: https://docs.haproxy.org/2.8/management.html#9.3-show%20servers%20state
    """
    version, columns, *lines = state.strip().splitlines()
    names = columns.removeprefix("# ").split()
    found = []
    for line in lines:
        row = dict(zip(names, line.split(), strict=False))
        found.append(
            Kept(
                backend=row["be_name"],
                server=row["srv_name"],
                address=(row["srv_addr"], int(row["srv_port"])),
                maintained=bool(int(row["srv_admin_state"]) & _MAINTAINED),
                line=line,
            )
        )
    return f"{version}\n{columns}\n", tuple(found)


_MAINTAINED = 0x01 | 0x02 | 0x04
"""Maintenance that was told, inherited, or configured (SRV_ADMF_FMAINT, IMAINT, CMAINT)."""
