"""Tests that measure seconds run while no other does, but for one more such."""

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

    def enter(self, *, quiet: bool) -> None:
        """Ask for a turn, without waiting for it."""

        def asked() -> None:
            self.turns.enter(quiet=quiet)
            self.done.append(quiet)

        threading.Thread(target=asked, daemon=True).start()

    def entered(self) -> bool:
        """Whether it has its turn."""
        return bool(self.done)


def wait() -> None:
    """Give those that ask the time to get what they must not get."""
    threading.Event().wait(0.15)


def test_others_run_side_by_side(tmp_path: Path) -> None:
    """As many as there are."""
    for process in [Process(tmp_path) for _ in range(3)]:
        process.enter(quiet=False)
        wait_for(process.entered)


def test_a_quiet_one_waits_for_all_and_all_for_it(tmp_path: Path) -> None:
    """And goes before who asked after it, though others could still go in."""
    first, quiet, late = (Process(tmp_path) for _ in range(3))
    first.enter(quiet=False)
    wait_for(first.entered)
    quiet.enter(quiet=True)
    wait()
    late.enter(quiet=False)
    wait()
    assert not quiet.entered()
    assert not late.entered()
    first.turns.leave(quiet_again=False)
    wait_for(quiet.entered)
    wait()
    assert not late.entered()
    quiet.turns.leave(quiet_again=False)
    wait_for(late.entered)


def test_two_quiet_ones_run_side_by_side_and_no_third(tmp_path: Path) -> None:
    """It has the seat of whoever is first to go."""
    one, two, three = (Process(tmp_path) for _ in range(3))
    for process in (one, two):
        process.enter(quiet=True)
        wait_for(process.entered)
    three.enter(quiet=True)
    wait()
    assert not three.entered()
    two.turns.leave(quiet_again=False)
    wait_for(three.entered)


def test_who_is_not_quiet_waits_for_the_last_of_two(tmp_path: Path) -> None:
    """One that goes leaves the other in peace."""
    one, two, other = (Process(tmp_path) for _ in range(3))
    one.turns.enter(quiet=True)
    two.turns.enter(quiet=True)
    other.enter(quiet=False)
    one.turns.leave(quiet_again=False)
    wait()
    assert not other.entered()
    two.turns.leave(quiet_again=False)
    wait_for(other.entered)


def test_several_quiet_ones_of_one_process_have_one_turn(tmp_path: Path) -> None:
    """Nobody comes between them."""
    quiet, other = Process(tmp_path), Process(tmp_path)
    quiet.turns.enter(quiet=True)
    other.enter(quiet=False)
    quiet.turns.leave(quiet_again=True)
    quiet.turns.enter(quiet=True)
    wait()
    assert not other.entered()
    quiet.turns.leave(quiet_again=False)
    wait_for(other.entered)
