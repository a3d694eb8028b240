"""Wait for what another thread or process is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

_LOOK_SECONDS = 0.02
_KILLED_SECONDS = 5


def wait_for(
    holds: Callable[[], bool],
    within: float = 30.0,
    shown: Callable[[], object] = lambda: "it did not come to hold in time",
) -> None:
    """Return as soon as something holds; fail with what `shown` says after so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, shown()
        time.sleep(_LOOK_SECONDS)


def running(process: psutil.Process) -> str | None:
    """Return a process' command while it runs; one that nobody has taken note of does not."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return None


def wait_or_kill(processes: Iterable[psutil.Process], within: float) -> list[str]:
    """Kill those that have not ended by themselves in time; return each one's id and command.

    One that has ended counts as such though nobody took note of it: whoever inherits an orphan, in a
    container, may be in no hurry. `within`: seconds.
    """
    processes, deadline = list(processes), time.monotonic() + within
    while any(map(running, processes)) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    left = [(process, command) for process in processes if (command := running(process))]
    for process, _ in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for process in processes:
        if isinstance(process, psutil.Popen):  # ours to take note of
            process.wait(_KILLED_SECONDS)
    return [f"{process.pid}: {command}" for process, command in left]
