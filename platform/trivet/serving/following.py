"""Start the follower beside a service, and have it end with it."""

from __future__ import annotations

import logging
import subprocess
import sys

log = logging.getLogger("trivet.serving")

_followers: list[subprocess.Popen[bytes]] = []
"""Kept for the life of the parent: the follower ends when its standard input does."""


def start_follower(model: str) -> None:
    """Start `trivet follow MODEL` as a process of its own.

    It alone imports MLflow. Its standard input is a pipe from this process that nobody writes to: the
    system closes it however this process ends, `kill -9` included, and the follower ends at that.
    """
    command = [sys.executable, "-m", "trivet.follow", model]
    follower = subprocess.Popen(  # noqa: S603 - our own module, with this interpreter
        command,
        stdin=subprocess.PIPE,
        # Ctrl-C in a terminal reaches a whole group; the follower waits for its service instead.
        start_new_session=True,
    )
    _followers.append(follower)
    log.info("%s: follower started (process %d)", model, follower.pid)
