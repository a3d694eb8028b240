"""Tests run side by side in several processes; those that measure seconds run apart, two at most."""

from __future__ import annotations

import os
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path

_SEATS = ("first", "second")
_LOOK_SECONDS = 0.05


class Turns:
    """Held by each process that runs tests, on files that all of them share.

    A test shares both seats with all others; one that needs a quiet machine has a seat for itself.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: the same for all."""
        # Descriptors, which stay open for as long as the process runs tests.
        self._door, *self._seats = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT) for name in ("door", *_SEATS)
        )
        self._quiet = False

    def enter(self, *, quiet: bool) -> None:
        """Wait until no quiet test runs; `quiet`: until none runs but one such."""
        if quiet and self._quiet:
            return
        # Who waits for a seat keeps the door shut: else others would follow each other for ever.
        flock(self._door, LOCK_EX)
        try:
            if quiet:
                self._take_a_seat()
            else:
                for seat in self._seats:
                    flock(seat, LOCK_SH)
        finally:
            flock(self._door, LOCK_UN)
        self._quiet = quiet

    def leave(self, *, quiet_again: bool) -> None:
        """Let others in; `quiet_again`: not if this one was quiet, and the next one is."""
        self._quiet = self._quiet and quiet_again
        if not self._quiet:
            for seat in self._seats:
                flock(seat, LOCK_UN)

    def _take_a_seat(self) -> None:
        while True:
            for seat in self._seats:
                try:
                    flock(seat, LOCK_EX | LOCK_NB)
                except BlockingIOError:
                    continue
                return
            time.sleep(_LOOK_SECONDS)
