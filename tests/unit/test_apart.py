"""What hangs in its own thread keeps no process from ending."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from trivet.serving.apart import Apart
from waiting import wait_for

_HANGS = """
import time
from trivet.serving.apart import Apart
Apart("hangs").submit(time.sleep, 600)
"""
_STORE_HANGS = """
import asyncio, time
from contextlib import suppress
from trivet.clock import system_clock
from trivet.errors import FeaturesUnavailable
from trivet.serving.crowd import Crowd
crowd = Crowd(system_clock, 0.1, 1, lambda *_: None)
with suppress(FeaturesUnavailable):
    asyncio.run(crowd.read_apart(lambda _: time.sleep(600)))
"""


def test_results_and_errors_come_back_in_order() -> None:
    """As from Python's own pool."""
    apart = Apart("a test")
    futures = [apart.submit(divmod, 7, by) for by in (2, 0, 3)]
    assert futures[0].result(5) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        futures[1].result(5)
    assert futures[2].result(5) == (2, 1)


def test_what_was_done_is_not_kept() -> None:
    """A version that is dropped is freed at once, also if nothing comes after its last batch."""
    apart = Apart("a test")
    for call in (lambda version: [version], lambda version: version / 0):
        version = threading.Event()
        kept = weakref.ref(version)
        wait([apart.submit(call, version)], 5)
        del version
        wait_for(lambda kept=kept: kept() is None)


def test_the_thread_is_one_however_many_ask_first_and_ends_with_what_has_it() -> None:
    """A canary and a shadow read by the thread that reads for requests."""
    apart = Apart("this test's")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(apart.submit, threading.get_ident) for _ in range(8)]
    assert len({one.result().result(5) for one in asked}) == 1
    del apart, asked
    wait_for(lambda: "this test's" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.parametrize("hangs", [_HANGS, _STORE_HANGS], ids=["a thread", "a store"])
def test_a_process_ends_though_something_hangs(hangs: str) -> None:
    """Python's own pool would be waited for."""
    subprocess.run([sys.executable, "-c", hangs], check=True, timeout=30)
