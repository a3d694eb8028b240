"""Whether replicas answer, asked again and again by a thread for each."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace

import httpx

_EVERY_SECONDS = 0.25
_PATIENCE_SECONDS = 2.0
_VERSION_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was last heard of a replica."""

    answered: float | None = None
    """When it last answered anything, by the monotonic clock."""
    ready: bool = False
    """What it said then."""
    version: int | None = None
    """The champion in it."""


class Prober:
    """Asks the replicas that it is told of."""

    def __init__(self) -> None:
        """Nobody is asked yet."""
        self._probes: dict[int, _Probe] = {}

    def watch(self, port: int) -> None:
        """Begin to ask at a port of loopback."""
        self._probes[port] = _Probe(port)

    def forget(self, port: int) -> None:
        """Ask there no more."""
        if (probe := self._probes.pop(port, None)) is not None:
            probe.stop.set()

    def health(self, port: int) -> Health:
        """Return what was last heard from a port that is watched."""
        return self._probes[port].health


class _Probe:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.health = Health()
        self.stop = threading.Event()
        threading.Thread(target=self._run, name=f"trivet-probe-{port}", daemon=True).start()

    def _run(self) -> None:
        # Each time by a new connection: one that is kept asks the same worker again and again.
        headers = {"Connection": "close"}
        version_from = 0.0
        with httpx.Client(
            base_url=self._url, timeout=_PATIENCE_SECONDS, headers=headers, trust_env=False
        ) as client:
            while not self.stop.wait(_EVERY_SECONDS):
                with contextlib.suppress(httpx.HTTPError):
                    ready = client.get("/readyz").is_success
                    self.health = replace(self.health, answered=time.monotonic(), ready=ready)
                    if ready and time.monotonic() >= version_from:
                        version_from = time.monotonic() + _VERSION_EVERY_SECONDS
                        self.health = replace(self.health, version=_champion(client))


def _champion(client: httpx.Client) -> int | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = client.get("/status").json()["champion"]
        return None if found is None else int(found)
    return None
