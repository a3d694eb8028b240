"""Tests of several processes run side by side, but for those that measure seconds: these run alone."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from pathlib import Path


class Turns:
    """Held by each process that runs tests, on files that all of them share."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the same for all."""
        # Descriptors, which stay open for as long as the process runs tests.
        self._door, self._room = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT) for name in ("door", "room")
        )
        self._alone = False

    def enter(self, *, alone: bool) -> None:
        """Wait until no test that is alone runs; `alone`: until none runs at all."""
        if alone and self._alone:
            return
        # Who waits to be alone keeps the door shut: else others would follow each other for ever.
        flock(self._door, LOCK_EX)
        try:
            flock(self._room, LOCK_EX if alone else LOCK_SH)
        finally:
            flock(self._door, LOCK_UN)

        self._alone = alone

    def leave(self, *, alone_again: bool) -> None:
        """Let others in; `alone_again`: not if this one was alone, and the next one is."""
        self._alone = self._alone and alone_again
        if not self._alone:
            flock(self._room, LOCK_UN)
