"""What hangs in its own thread keeps no process from ending."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trivet.serving.apart import Apart

_HANGS = """
import time
from trivet.serving.apart import Apart
Apart("hangs").submit(time.sleep, 600)
"""


def test_results_and_errors_come_back_in_order() -> None:
    """As from Python's own pool."""
    apart = Apart("a test")
    futures = [apart.submit(divmod, 7, by) for by in (2, 0, 3)]
    assert futures[0].result(5) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        futures[1].result(5)
    assert futures[2].result(5) == (2, 1)


def test_a_process_ends_though_something_hangs() -> None:
    """Python's own pool would be waited for."""
    subprocess.run([sys.executable, "-c", _HANGS], check=True, timeout=30)
