"""Tests that measure seconds run while no other does."""

from __future__ import annotations

import threading
from pathlib import Path

from turns import Turns
from waiting import wait_for


class Process:
    """One that runs tests, in a thread here."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where the others are too."""
        self.turns = Turns(folder)
        self.done: list[bool] = []

    def enter(self, *, alone: bool) -> None:
        """Ask for a turn, without waiting for it."""

        def asked() -> None:
            self.turns.enter(alone=alone)
            self.done.append(alone)

        threading.Thread(target=asked, daemon=True).start()


def test_others_run_side_by_side(tmp_path: Path) -> None:
    """As many as there are."""
    for process in [Process(tmp_path) for _ in range(3)]:
        process.enter(alone=False)
        wait_for(lambda process=process: process.done == [False])


def test_one_that_is_alone_waits_for_all_and_all_for_it(tmp_path: Path) -> None:
    """And goes before who asked after it, though others could still go in."""
    first, alone, late = (Process(tmp_path) for _ in range(3))
    first.enter(alone=False)
    wait_for(lambda: first.done == [False])
    alone.enter(alone=True)
    threading.Event().wait(0.1)
    late.enter(alone=False)
    threading.Event().wait(0.1)
    assert (alone.done, late.done) == ([], [])
    first.turns.leave(alone_again=False)
    wait_for(lambda: alone.done == [True])
    threading.Event().wait(0.1)
    assert late.done == []
    alone.turns.leave(alone_again=False)
    wait_for(lambda: late.done == [False])


def test_several_that_are_alone_have_one_turn(tmp_path: Path) -> None:
    """Nobody comes between them."""
    alone, other = Process(tmp_path), Process(tmp_path)
    alone.turns.enter(alone=True)
    other.enter(alone=False)
    alone.turns.leave(alone_again=True)
    alone.turns.enter(alone=True)
    threading.Event().wait(0.1)
    assert other.done == []
    alone.turns.leave(alone_again=False)
    wait_for(lambda: other.done == [False])
