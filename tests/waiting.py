"""Wait for what another thread or process is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable

_LOOK_SECONDS = 0.02


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
