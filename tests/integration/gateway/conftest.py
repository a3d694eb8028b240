"""Real HAProxy in front of tiny replicas, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from replica import Replica, free_port
from trivet.gateway.configuration import Backend, Gateway, Server
from trivet.gateway.proxy import Proxy

Start = Callable[..., Proxy]
Replicas = Callable[..., list[Replica]]


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    """Start replicas, one for each delay; end them after the test."""
    with ExitStack() as stack:

        def start(*delays: float, at_once: int = 1000) -> list[Replica]:
            return [
                stack.enter_context(
                    Replica(name=f"r{n}", folder=tmp_path, delay=delay, at_once=at_once)
                )
                for n, delay in enumerate(delays)
            ]

        yield start


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Return a proxy that is stopped after the test."""
    proxy = Proxy(tmp_path / "gateway")
    yield proxy
    proxy.stop()


def gateway_of(*replicas: Replica, model: str = "m", **more: Any) -> Gateway:
    """Return a gateway in front of replicas; what names a backend's field goes there."""
    own = {k: more.pop(k) for k in list(more) if k in Backend.__dataclass_fields__}
    servers = tuple(Server(name=one.name, port=one.port) for one in replicas)
    backend = Backend(model=model, servers=servers, **own)
    ports = {"port": free_port(), "stats_port": free_port()}
    return Gateway(**{**ports, "backends": (backend,), "tells_server": True, **more})
