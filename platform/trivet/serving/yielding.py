"""Let the event loop go first while another thread of a worker computes for long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.0005


@contextmanager
def yielding() -> Iterator[None]:
    """Have whoever computes in the block hand on the interpreter after half a millisecond.

    Python's default is 5 ms, and a request needs the interpreter several times: after every call that
    let go of it. What holds it inside one call, such as the import of a large library, is not stopped.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
