"""When HAProxy has to take another configuration: what it cannot be told while it runs has changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from trivet.gateway.configuration import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What makes a configuration another one."""

    gateway: Gateway
    certificate: int | None
    """When its file was last written: it is read at a reload alone."""


def written(gateway: Gateway) -> Written:
    """Return what of a gateway is not told to a proxy that runs: all but where replicas listen."""
    backends = tuple(
        replace(
            backend,
            servers=tuple(replace(one, port=0, enabled=False) for one in backend.servers),
        )
        for backend in gateway.backends
    )
    certificate = None
    if gateway.tls is not None:
        with suppress(OSError):
            certificate = gateway.tls.stat().st_mtime_ns
    return Written(gateway=replace(gateway, backends=backends), certificate=certificate)
