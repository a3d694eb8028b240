"""Why a gateway does not start, or does not do as it is told."""

from __future__ import annotations

from pathlib import Path

from trivet.errors.base import TrivetError


class GatewayBinaryMissing(TrivetError):
    """There is no HAProxy that could be run."""

    exit_code = 2
    title = "HAProxy is missing"

    def __init__(self, why: str) -> None:
        """`why`: what was looked for, and not found."""
        super().__init__(
            why,
            hint="pip install 'trivet[gateway]' brings one; or install haproxy (2.4 or newer), or "
            "name it by TRIVET_HAPROXY.",
        )


class PortInUse(TrivetError):
    """Somebody else listens where the gateway was to listen."""

    exit_code = 3
    title = "Port in use"

    def __init__(self, host: str, port: int) -> None:
        """`host` and `port`: where it was to listen."""
        super().__init__(
            f"Another program listens on {host}:{port}.",
            hint="End it, or choose another port.",
        )


class GatewayFailed(TrivetError):
    """HAProxy does not take its configuration, does not start, or does not answer."""

    exit_code = 3
    title = "The gateway failed"

    def __init__(self, what: str, said: str, log: Path | None = None) -> None:
        """`said`: HAProxy's own words; `log`: where there are more of them."""
        super().__init__(
            f"HAProxy {what}: {said.strip() or 'it said nothing'}",
            hint=None if log is None else f"Its log is {log}.",
        )
