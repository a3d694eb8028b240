"""What a supervisor has left that was ended by `kill -9`: ended, before the next one starts."""

from __future__ import annotations

import shutil
import time

from trivet.gateway.processes import end_group, port_taken
from trivet.gateway.requests import Inbox
from trivet.gateway.state import Home

_PATIENCE_SECONDS = 5.0


def sweep(home: Home) -> int:
    """End what an earlier supervisor's state names and remove its files; to be called under the lock.

    Only processes that have the id and the birth that were written down: an id that was given out
    anew belongs to somebody else.

    Returns:
        How many groups of processes were ended.
    """
    state = home.read_state()
    ended = 0
    if state is not None:
        groups = [(r.pid, r.born) for model in state.models for r in model.replicas]
        for pid, born in (*groups, (state.proxy_pid, state.proxy_born)):
            if pid is not None and born is not None:
                ended += end_group(pid, born, _PATIENCE_SECONDS)
        _wait_for_ports(((state.host, state.port), ("127.0.0.1", state.stats_port)))
    remove(home)
    return ended


def remove(home: Home) -> None:
    """Remove the files of what no longer runs; the logs stay."""
    home.state_file.unlink(missing_ok=True)
    Inbox(home.requests).clear()
    shutil.rmtree(home.drain, ignore_errors=True)


def _wait_for_ports(ports: tuple[tuple[str, int], ...]) -> None:
    """Wait, for a moment, until a proxy that lost its master has let go of its ports."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while any(port_taken(host, port) for host, port in ports) and time.monotonic() < deadline:
        time.sleep(0.05)
