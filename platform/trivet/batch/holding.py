"""What jobs leave in the project's home, and how the next one sweeps what nobody holds.

A process that is killed takes nothing away. So each holds a file beside what is its own, which the
system lets go of however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

_PREFIX = "batch-"
_HELD = "held"
_KEPT = 3
"""Copies of a model's versions that stay, the last used ones: a stopped job goes on with its own."""


@contextmanager
def workspace(home: Path) -> Iterator[Path]:
    """Make a folder for what does not fit into memory, gone at the end or at a later one's start.

    Args:
        home: of the project; made where it is not there.
    """
    with one_at_a_time(home / "batch.lock"):
        for left in home.glob(f"{_PREFIX}*"):
            if _is_free(left / _HELD):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(mkdtemp(prefix=_PREFIX, dir=home))
        handle = _hold(folder / _HELD)
    try:
        spill = folder / "spill"
        spill.mkdir()
        yield spill
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


@contextmanager
def holding(copy: Path) -> Iterator[None]:
    """Hold a version's folder, and sweep those beside it that nobody holds but the last used ones.

    To be entered, and what is in the folder to be brought, by one process at a time.
    """
    handle = _hold(_beside(copy))
    try:
        os.utime(copy)
        _sweep(copy.parent)
        yield
    finally:
        os.close(handle)


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is where this one is, and hold them up."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


def _sweep(versions: Path) -> None:
    for partial in versions.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    copies = [path for path in versions.iterdir() if path.is_dir()]
    copies.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for copy in copies[_KEPT:]:
        if _is_free(_beside(copy)):
            shutil.rmtree(copy, ignore_errors=True)
            _beside(copy).unlink(missing_ok=True)


def _beside(copy: Path) -> Path:
    return copy.with_name(f".{copy.name}.{_HELD}")


def _hold(file: Path) -> int:
    """Hold a file, beside others that do; closing the descriptor lets go of it."""
    # Over NFS a lock needs the right to read or to write that goes with it.
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _is_free(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
