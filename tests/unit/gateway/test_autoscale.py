"""How many replicas are wanted: up fast, down slow, never out of bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.gateway.autoscale import Decision, Limits, Look, decide

LIMITS = Limits(least=1, most=4, target=4.0, up_seconds=3.0, down_seconds=30.0)


def looks(
    busy: int, *, wanted: int = 1, ready: int | None = None, start: float = 0.0, end: float = 40.0
) -> list[Look]:
    """Return two looks a second at the same work."""
    number = int(2 * (end - start)) + 1
    there = wanted if ready is None else ready
    return [Look(at=start + n / 2, wanted=wanted, ready=there, busy=busy) for n in range(number)]


def follow(busy: list[int], limits: Limits = LIMITS) -> list[int]:
    """Return how many were wanted after each look, two a second; what is wanted is ready at once."""
    history: list[Look] = []
    wanted = limits.least
    made = []
    for number, work in enumerate(busy):
        now = number / 2
        history.append(Look(at=now, wanted=wanted, ready=wanted, busy=work))
        wanted = decide(history, limits, now).wanted
        made.append(wanted)
    return made


def test_without_a_history_the_least_is_wanted() -> None:
    """Nothing has been seen yet."""
    assert decide([], LIMITS, 0.0).wanted == 1


@pytest.mark.parametrize(("busy", "wanted"), [(4, 1), (5, 2), (12, 3), (16, 4), (1000, 4)])
def test_as_many_are_wanted_as_the_work_needs(busy: int, wanted: int) -> None:
    """In one step, and at most as many as are allowed."""
    assert decide(looks(busy), LIMITS, 40.0).wanted == wanted


def test_a_burst_is_no_work() -> None:
    """What counts is the average over as long as the limits say."""
    history = [*looks(0, end=39.0), Look(at=39.5, wanted=1, ready=1, busy=12)]
    assert decide(history, LIMITS, 39.5).wanted == 1


def test_the_first_seconds_do_not_scale_up() -> None:
    """What happens while connections are made is no measure."""
    assert decide(looks(100, end=2.0), LIMITS, 2.0).wanted == 1


def test_no_more_are_added_before_those_that_were_are_there() -> None:
    """A replica takes seconds to start; the work is above the target meanwhile."""
    assert decide(looks(12, wanted=2, ready=1), LIMITS, 40.0).wanted == 2
    assert decide(looks(12, wanted=2, ready=2), LIMITS, 40.0).wanted == 3


def test_one_that_was_given_up_is_not_waited_for_and_bears_nothing() -> None:
    """Its seat is wanted still; the work is that of the others, and they are not fewer without it."""
    history = [replace(look, failed=1) for look in looks(7, wanted=2, ready=1)]
    assert decide(history, LIMITS, 40.0).wanted == 3
    assert decide(history, LIMITS, 40.0).why == "7.0 in flight, 7.0 a replica: over 4"
    history = [replace(look, failed=1) for look in looks(7, wanted=3, ready=1)]
    assert decide(history, LIMITS, 40.0).wanted == 3
    history = [replace(look, failed=2) for look in looks(2, wanted=3, ready=1)]
    assert decide(history, LIMITS, 40.0).wanted == 2
    history = [replace(look, failed=2) for look in looks(9, wanted=2, ready=0)]
    assert decide(history, LIMITS, 40.0).wanted == 2


def test_one_goes_after_the_work_was_low_for_long() -> None:
    """One at a time, and only where the rest has room to spare."""
    assert decide(looks(5, wanted=3), LIMITS, 40.0).wanted == 2
    assert decide(looks(6, wanted=3), LIMITS, 40.0).wanted == 3
    assert decide(looks(0, wanted=3, end=29.0), LIMITS, 29.0).wanted == 3


def test_none_goes_soon_after_a_change() -> None:
    """Up and down would follow each other."""
    history = [*looks(12, end=20.0), *looks(0, wanted=3, start=20.5, end=45.0)]
    assert decide(history, LIMITS, 45.0).wanted == 3
    history += looks(0, wanted=3, start=45.5, end=51.0)
    assert decide(history, LIMITS, 51.0).wanted == 2


def test_other_limits_hold_at_once() -> None:
    """A number that somebody has set outside of them is brought inside."""
    assert decide(looks(0, wanted=6), LIMITS, 40.0) == Decision(wanted=4, why="between 1 and 4")


def test_a_decision_says_what_was_seen() -> None:
    """It is logged and shown."""
    assert decide(looks(12), LIMITS, 40.0).why == "12.0 in flight, 12.0 a replica: over 4"
    assert decide(looks(0, wanted=2), LIMITS, 40.0).why == "0.0 in flight at most for 30 s"
    assert decide(looks(3), LIMITS, 40.0).why == "3 in flight"


def test_a_day_of_work() -> None:
    """It rises, stays, and falls: two steps up at most, then one down every half minute."""
    made = follow([0] * 20 + [14] * 60 + [0] * 240)
    assert max(made) == 4
    assert made[-1] == 1
    assert made[22] == 2
    assert made[30] == 4
    falls = [n / 2 for n in range(1, len(made)) if made[n] < made[n - 1]]
    assert len(falls) == 3
    assert all(later - sooner >= 30 for sooner, later in pairwise(falls))


@given(st.integers(0, 30), st.integers(1, 4))
def test_steady_work_comes_to_rest(busy: int, least: int) -> None:
    """However high it is, the number does not go up and down for ever."""
    limits = Limits(least=least, most=6, target=4.0, up_seconds=3.0, down_seconds=10.0)
    made = follow([busy] * 400, limits)
    assert len(set(made[-100:])) == 1
    assert sum(a != b for a, b in pairwise(made)) <= 2


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=150),
    st.integers(1, 5),
    st.integers(0, 5),
    st.floats(0.5, 20),
)
def test_bounds_hold_whatever_the_work(
    busy: list[int], least: int, more: int, target: float
) -> None:
    """And it goes down by one at a time, never sooner than the limits say."""
    limits = Limits(
        least=least, most=least + more, target=target, up_seconds=2.0, down_seconds=10.0
    )
    made = follow(busy, limits)
    assert all(limits.least <= wanted <= limits.most for wanted in made)
    changes = [n for n in range(1, len(made)) if made[n] != made[n - 1]]
    for number in changes:
        if made[number] < made[number - 1]:
            assert made[number] == made[number - 1] - 1
            assert all(number - other >= 20 for other in changes if other < number)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200))
def test_work_that_fits_into_the_least_never_scales_up(busy: list[int]) -> None:
    """There is no reason to."""
    assert set(follow(busy)) == {1}
