"""The arrangements that are measured, and the gateway that stands before some of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from benchmarks.serving.contenders import Contender, Place, limit, trivet_by_value
from benchmarks.serving.rounds import turn
from benchmarks.serving.servers import Server, free_port
from trivet.gateway.configuration import Backend, Gateway
from trivet.gateway.configuration import Server as Address
from trivet.gateway.proxy import Proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement(Contender):
    """Replicas that are asked by way of a gateway, or the only one directly."""

    app: Literal["bare", "trivet"]
    replicas: tuple[Server, ...]
    """All of them; `servers` is the first alone, for several are to a generator a chain to call."""
    workers: int
    gateway: Gateway | None = None

    @property
    def port(self) -> int:
        """Of the gateway, or of the one replica."""
        return self.servers[0].port if self.gateway is None else self.gateway.port


def arrangements(place: Place, *, most: int = 2) -> list[Arrangement]:
    """Return the bare app and Trivet, each with a gateway and without, then more of Trivet.

    Args:
        place: one worker a server, on all cores.
        most: replicas, and workers of each.
    """
    bare = _named(limit(place), "bare-1x1")
    one = [_named(trivet_by_value(place), f"trivet-{n}x1") for n in range(most)]
    found = [
        _arranged(bare, "bare", (bare.servers[0],), 1, through=False),
        _arranged(bare, "bare", (bare.servers[0],), 1, through=True),
        _arranged(one[0], "trivet", (one[0].servers[0],), 1, through=False),
    ]
    for workers in range(1, most + 1):
        several = replace(place, workers=workers)
        each = one if workers == 1 else _several(several, most)
        for replicas in range(1, most + 1):
            servers = tuple(contender.servers[0] for contender in each[:replicas])
            found.append(_arranged(one[0], "trivet", servers, workers, through=True))
    return found


def _several(place: Place, count: int) -> list[Contender]:
    return [_named(trivet_by_value(place), f"trivet-{n}x{place.workers}") for n in range(count)]


def _named(contender: Contender, name: str) -> Contender:
    """Give a server a name, and a log, of its own: several are started of the same kind."""
    (server,) = contender.servers
    log = server.log.with_name(f"{name}.log")
    return replace(contender, name=name, servers=(replace(server, name=name, log=log),))


def _arranged(
    like: Contender,
    app: Literal["bare", "trivet"],
    servers: tuple[Server, ...],
    workers: int,
    *,
    through: bool,
) -> Arrangement:
    way = "through" if through else "direct"
    return Arrangement(
        name=f"{app}-{len(servers)}x{workers}-{way}",
        title=f"{app}, {len(servers)} x {workers}, {way}",
        servers=servers[:1],
        replicas=servers,
        path=like.path,
        body=like.body,
        labels=like.labels,
        app=app,
        workers=workers,
        gateway=_gateway(servers) if through else None,
    )


def _gateway(servers: tuple[Server, ...]) -> Gateway:
    addresses = tuple(Address(name=server.name, port=server.port) for server in servers)
    backend = Backend(
        model="forest",
        servers=addresses,
        balance="least_connections",
        readiness=servers[0].ready,
        queue_seconds=30.0,
    )
    return Gateway(port=free_port(), stats_port=free_port(), backends=(backend,))


@contextmanager
def its_turn(arrangement: Arrangement, folder: Path) -> Iterator[psutil.Process | None]:
    """Let an arrangement run for its turn; give its gateway's process, None where it has none."""
    with turn(replace(arrangement, servers=arrangement.replicas)):
        if arrangement.gateway is None:
            yield None
            return
        proxy = Proxy(folder / "proxy")
        proxy.start(arrangement.gateway)
        try:
            yield psutil.Process(proxy.pid)
        finally:
            proxy.stop()
