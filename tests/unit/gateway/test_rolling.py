"""The next step to what is wanted: whatever there is, it comes to it, and capacity holds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.gateway.rolling import Drain, Seat, Start, next_step
from trivet.gateway.state import Condition

_SETTLING: dict[Condition, Condition] = {
    "starting": "ready",
    "not ready": "ready",
    "waiting": "starting",
    "draining": "ending",
    "ending": "off",
}


def seats(*states: Condition, old: int = 0) -> list[Seat]:
    """Return seats in these states; the first `old` of them run older code."""
    return [Seat(name=f"r{n + 1}", state=state, current=n >= old) for n, state in enumerate(states)]


@pytest.mark.parametrize(
    ("there", "wanted", "step"),
    [
        (seats("off", "off", "off"), 2, Start("r1")),
        (seats("starting", "off", "off"), 2, Start("r2")),
        (seats("ready", "ready", "off"), 2, None),
        (seats("ready", "waiting", "off"), 2, None),
        (seats("ready", "draining", "off"), 2, Start("r3")),
        (seats("ready", "ready", "ready"), 2, Drain("r3")),
        (seats("ready", "starting", "ready"), 2, Drain("r2")),
        (seats("ready", "failed", "ready"), 2, Drain("r2")),
        (seats("ready", "off"), 0, Drain("r1")),
        (seats("starting", "off"), 0, Drain("r1")),
    ],
)
def test_as_many_as_are_wanted(there: list[Seat], wanted: int, step: object) -> None:
    """What is missing starts, what is too many goes, who does not answer goes first."""
    assert next_step(there, wanted) == step


@pytest.mark.parametrize(
    ("there", "step"),
    [
        (seats("ready", "ready", "off", old=2), Start("r3")),
        (seats("ready", "ready", "starting", old=2), None),
        (seats("ready", "ready", "ready", old=2), Drain("r1")),
        (seats("draining", "ready", "ready", old=2), None),
        (seats("off", "ready", "ready", old=2), Start("r1")),
        (seats("failed", "ready", "starting", old=2), Drain("r1")),
        (seats("failed", "ready", "off", old=2), Start("r3")),
    ],
)
def test_code_is_renewed_one_at_a_time(there: list[Seat], step: object) -> None:
    """The new one first, then one of the old ones goes."""
    assert next_step(there, 2) == step


def test_a_single_replica_is_renewed_by_starting_the_new_one_first() -> None:
    """There is never a moment without one."""
    assert next_step(seats("ready", "off", old=1), 1) == Start("r2")
    assert next_step(seats("ready", "starting", old=1), 1) is None
    assert next_step(seats("ready", "ready", old=1), 1) == Drain("r1")


states = st.sampled_from(
    ["off", "starting", "ready", "not ready", "draining", "ending", "waiting", "failed"]
)


@given(
    st.lists(st.tuples(states, st.booleans()), min_size=2, max_size=7),
    st.integers(0, 6),
    st.integers(),
)
def test_it_always_comes_to_what_is_wanted(
    there: list[tuple[Condition, bool]], wanted: int, seed: int
) -> None:
    """From any state, in any order of events; capacity that is there stays while code is renewed."""
    wanted = min(wanted, len(there) - 1)
    now = {
        f"r{n}": Seat(name=f"r{n}", state=state, current=current)
        for n, (state, current) in enumerate(there)
    }
    chance = random.Random(seed)  # noqa: S311 - an order
    for _ in range(300):
        ready = sum(seat.state == "ready" for seat in now.values())
        step = next_step(list(now.values()), wanted)
        if isinstance(step, Start):
            assert now[step.name].state == "off"
            now[step.name] = Seat(name=step.name, state="starting")
        elif isinstance(step, Drain):
            seat = now[step.name]
            assert seat.state != "ready" or ready > wanted
            left: Condition = "off" if seat.state in {"waiting", "failed"} else "draining"
            now[step.name] = replace(seat, state=left)
        else:
            moving = [seat for seat in now.values() if seat.state in _SETTLING]
            if not moving:
                break
            seat = chance.choice(moving)
            now[seat.name] = replace(seat, state=_SETTLING[seat.state])
    stay = [seat for seat in now.values() if seat.state != "off"]
    assert all(seat.state in {"ready", "failed"} for seat in stay)
    if not any(seat.current and seat.state == "failed" for seat in stay):
        assert len(stay) == wanted
        assert all(seat.current for seat in stay)
