"""Processes in groups of their own: started, told apart from others of the same id, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from trivet.gateway.launch import bound

_START_TIME = 19
"""Place of `starttime` behind the command's name; see proc_pid_stat(5)."""
_STATE = 0
_LOOK_SECONDS = 0.05
_BELOW_SECONDS = 1.0
_OTHERS_SECONDS = 2.0
"""How long workers may take to see that their parent is gone."""


class Group:
    """A command that runs as the leader of a group, and ends with this process at the latest."""

    def __init__(
        self, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        """Start it.

        Args:
            command: as typed.
            folder: its working directory.
            log: where it writes to; what an earlier one wrote goes to `.before` beside it.
            environment: all of its variables.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_suffix(".before.log"))
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - the command is this package's own
                bound(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches a whole group: this process ends the others in order.
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.born = birth(self.pid)
        self.renewed = 0.0
        """When it was last seen to have started or lost a process, by the monotonic clock."""
        self._below: dict[int, int] = {}
        self._look_from = 0.0

    def ended(self) -> int | None:
        """Return the leader's exit code once it has ended; what is left of what it started is killed.

        To be asked again and again: what it has started is looked up now and then, as nobody can say
        it any more once the leader is gone.
        """
        if time.monotonic() >= self._look_from:
            self._look_from = time.monotonic() + _BELOW_SECONDS
            self._look_below()
        code = self._process.poll()
        if code is not None:
            self._kill()
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the group; SIGKILL also to what the leader has started in other groups.

        BentoML's workers lead groups of their own.
        """
        if number == signal.SIGKILL:
            self._below |= below(self.pid)
            self._kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _look_below(self) -> None:
        found = below(self.pid)
        if self._process.poll() is not None:
            return  # of a leader that is gone nothing can be said any more
        if found != self._below:
            self.renewed = time.monotonic()
        self._below = found

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid, born in self._below.items():
            if lives(pid, born):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def birth(pid: int) -> int | None:
    """Return when a process began, in the kernel's ticks since the machine did; None: it is no more.

    Ids are given out anew; id and birth together belong to one process alone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold blanks and brackets; the last bracket ends it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else int(fields[_START_TIME])


def below(pid: int) -> dict[int, int]:
    """Return what a process has started, and what that has: birth by id."""
    found: dict[int, int] = {}
    waiting = [pid]
    while waiting:
        for file in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for child in map(int, file.read_text().split()):
                    if (born := birth(child)) is not None:
                        found[child] = born
                        waiting.append(child)
    return found


def lives(pid: int | None, born: int | None) -> bool:
    """Say whether the very process still runs that had this id and birth."""
    return pid is not None and born is not None and birth(pid) == born


def gone(pid: int, born: int, within: float) -> bool:
    """Wait until a process has ended, so long at most; say whether it has."""
    deadline = time.monotonic() + within
    while lives(pid, born):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def end_group(pid: int, born: int, within: float) -> bool:
    """End a group whose leader is this very process, by force when it takes longer.

    Returns:
        Whether there was one.
    """
    if not lives(pid, born):
        return False
    others = below(pid)
    for number, patience in ((signal.SIGTERM, within), (signal.SIGKILL, within)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        if gone(pid, born, patience):
            break
    for other, its in others.items():
        if not gone(other, its, _OTHERS_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_taken(host: str, port: int) -> bool:
    """Say whether somebody listens on a port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
