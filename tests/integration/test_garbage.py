"""A worker's full garbage collections wait for a moment at which nobody waits for it."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from itertools import pairwise

import pytest

from trivet.serving.garbage import Keeper, settle, settle_more


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the test process's own collector as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class _Node:
    """Something that can be part of a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_after_settling_python_starts_no_full_collection_by_itself() -> None:
    """However much comes to stay."""
    settle()
    before = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(300_000)]
    assert gc.get_stats()[2]["collections"] == before
    assert gc.get_stats()[1]["collections"] > 0
    assert len(kept) == 300_000


def test_cycles_that_were_made_before_the_last_settling_are_found_by_the_next() -> None:
    """What was frozen is looked at again."""
    node = _Node()
    settle()
    gone = weakref.ref(node)
    del node
    assert gone() is not None
    settle()
    assert gone() is None


def test_a_worker_that_is_never_idle_looks_at_what_is_new_alone() -> None:
    """What was taken out of sight before costs it nothing."""
    old = _Node()
    settle()
    new = _Node()
    gone = [weakref.ref(old), weakref.ref(new)]
    del old, new
    settle_more()
    assert [trace() is None for trace in gone] == [False, True]
    settle()
    assert [trace() is None for trace in gone] == [True, True]


def test_a_worker_collects_once_it_is_idle_after_requests() -> None:
    """And not again while nothing comes."""
    asked = [0]
    keeper, now = Keeper(lambda: asked[0]), time.monotonic()
    assert not keeper.look(now)
    asked[0] = 5
    assert not keeper.look(now + 5)  # requests came since the last look
    assert keeper.look(now + 10)
    assert not keeper.look(now + 15)


def test_a_worker_that_is_never_idle_collects_every_ten_minutes() -> None:
    """So that what somebody's code leaves behind cannot pile up for ever."""
    asked = [0]
    keeper, now = Keeper(lambda: asked[0]), time.monotonic()
    times = []
    for second in range(5, 2000, 5):
        asked[0] += 100
        if keeper.look(now + second):
            times.append(second)
    assert len(times) == 3
    assert all(600 <= later - sooner < 610 for sooner, later in pairwise(times))


def test_at_its_end_nothing_is_out_of_sight_any_more() -> None:
    """What Python does not see when it ends is not taken down, and libraries complain of that."""
    keeper = Keeper(lambda: 0)
    keeper.start()
    assert gc.get_freeze_count() > 0
    keeper.stop()
    assert gc.get_freeze_count() == 0
