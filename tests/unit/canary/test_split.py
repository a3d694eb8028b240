"""Who goes to a canary is decided by the entity alone, and in the share that was asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.canary.split import place, takes

KEYS = 100_000


@pytest.mark.parametrize("percent", [0.1, 1, 10, 50, 99.9])
def test_the_share_is_right_over_100_000_keys(percent: float) -> None:
    """Within four standard deviations of what a fair draw gives."""
    found = sum(takes(percent, "shop", "2", (f"u{number}",)) for number in range(KEYS))
    share = percent / 100
    assert abs(found - KEYS * share) < 4 * (KEYS * share * (1 - share)) ** 0.5


def test_another_process_draws_the_same() -> None:
    """Python's own hash would not: it is another one in every process."""
    keys = [("u1",), (7,), (7.5, None, True), ("\ud800",)]
    code = (
        f"from trivet.canary.split import place\nprint([place('shop', '2', k) for k in {keys!r}])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert there.strip() == str([place("shop", "2", key) for key in keys])


@given(
    key=st.tuples(st.text() | st.integers() | st.floats(allow_nan=False)),
    less=st.floats(0.1, 100),
    more=st.floats(0.1, 100),
)
def test_who_is_in_stays_in_as_the_percentage_grows(
    key: tuple[object], less: float, more: float
) -> None:
    """So that an entity's answers change once and not to and fro."""
    less, more = sorted((less, more))
    assert takes(more, "shop", "2", key) or not takes(less, "shop", "2", key)


def test_another_salt_draws_another_share() -> None:
    """The same tenth of the entities would be the one to try every canary."""
    one = {n for n in range(KEYS) if takes(10, "shop", "2", (n,))}
    two = {n for n in range(KEYS) if takes(10, "shop", "3", (n,))}
    assert abs(len(one & two) - KEYS / 100) < KEYS / 500


def test_a_number_and_its_text_are_two_entities() -> None:
    """As they are for Feast."""
    assert place("shop", "2", (7,)) != place("shop", "2", ("7",))
