"""Who goes first where processors are few: requests, before all that only stands beside them."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

log = logging.getLogger("trivet.priority")

_BESIDE = 5
"""A third of what a worker gets beside it: enough to keep up while the workers are busy."""
_LAST = 10
"""A tenth of it: for what can wait."""
_SESSION = Path("/proc/self/autogroup")
_AGAIN_SECONDS = 0.1
"""Who is not root may change the share of one session in this time, whosever that is."""
_TRIES = 20


def give_way() -> None:
    """Let the workers of a service go before this process: before all threads that it starts later.

    It neither interrupts one that runs: a batch process waits until its turn comes.

    Where Linux shares processors out among sessions (`kernel.sched_autogroup_enabled`, which most
    distributions set), a process's own priority counts only against those of its session, and each
    worker, log and follower leads one. So a process that leads a session lowers that too; see sched(7).
    """
    os.nice(_BESIDE)
    if sys.platform != "linux":
        return
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if os.getsid(0) == os.getpid():
        _lower_session()


def _lower_session() -> None:
    for _ in range(_TRIES):
        try:
            _SESSION.write_text(str(_BESIDE))
        except BlockingIOError:  # another process has just changed its own
            time.sleep(_AGAIN_SECONDS)
        except OSError:  # a kernel without it, or a /proc that may not be written
            return
        else:
            return
    log.warning(
        "the share of this process's session could not be lowered: requests may wait for it"
    )


def give_way_in_this_thread() -> None:
    """Let everything else go before this thread, for good; does nothing in a main thread.

    What a main thread starts would inherit its priority. Priorities of threads are Linux's; elsewhere
    this would be the whole process.
    """
    own = threading.current_thread() is not threading.main_thread()
    if own and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST)
