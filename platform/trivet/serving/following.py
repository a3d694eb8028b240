"""Start the follower beside a service, and have it and the workers end with the service."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time

from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

_LOOK_SECONDS = 1.0

_AGAIN_SECONDS = 5.0
"""Between the end of a follower and the start of the next: one that fails at once takes a core."""


def start_follower(model: str) -> None:
    """Start `trivet follow MODEL` as a process of its own, and another one whenever it ends.

    It alone imports MLflow. Its standard input is a pipe from this process that nobody writes to: the
    system closes it however this process ends, `kill -9` included, and the follower ends at that.
    """
    follower = _start(model)
    threading.Thread(
        target=_keep_following, args=(model, follower), name="trivet-follower", daemon=True
    ).start()


def forget_drain(settings: Settings) -> None:
    """Be ready again: a drain that was asked of an earlier life of this service is over."""
    if settings.drain_file is not None:
        settings.drain_file.unlink(missing_ok=True)


def _start(model: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "trivet.follow", model]
    follower = subprocess.Popen(  # noqa: S603 - our own module, with this interpreter
        command,
        stdin=subprocess.PIPE,
        # Ctrl-C in a terminal reaches a whole group; the follower waits for its service instead.
        start_new_session=True,
    )
    log.info("%s: follower started (process %d)", model, follower.pid)
    return follower


def _keep_following(model: str, follower: subprocess.Popen[bytes]) -> None:
    while True:
        code = follower.wait()
        log.error("%s: the follower has ended (%d), another one is started", model, code)
        time.sleep(_AGAIN_SECONDS)
        follower = _start(model)


def end_with_parent() -> None:
    """End this worker, as `kill` would, once the process that started it is gone.

    BentoML's workers outlive a parent that was ended by `kill -9`. They would keep its port, so that no
    new service could start, and answer with a version that no follower follows any more.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), name="trivet-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    log.error("the process that started this worker (%d) is gone: ending", parent)
    os.kill(os.getpid(), signal.SIGTERM)
