"""Run a command that ends with its parent: `python -m trivet.gateway.launch PARENT COMMAND`.

The kernel sends the signal however the parent ends, `kill -9` included, and also to a child that is
stopped or hangs; a watched pipe needs a child that reads it. What was asked of the kernel holds over
`exec`, so the command itself knows nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""


def bound(command: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs another one until this process ends.

    It must be started by the main thread: the kernel takes the end of the thread that forked for the
    parent's.
    """
    # -P: the working directory is a bento's, whose files must not stand in for modules.
    this = (sys.executable, "-P", "-m", "trivet.gateway.launch", str(os.getpid()))
    return (*this, *command)


def main(parent: int, command: Sequence[str]) -> None:
    """Become the command, unless the parent is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], list(command))  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
