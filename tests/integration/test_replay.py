"""The replayed year: everything in the order in which it became known, equal to what a batch makes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from replayed import SHIFT, VIEWS, Year, assert_equal_to_the_batch, open_year

DAYS = (datetime(2026, 7, 28, tzinfo=UTC), datetime(2026, 7, 30, tzinfo=UTC))
"""9 and 10 July 2013, of thunderstorms, as of where the year is moved to."""


@pytest.fixture(scope="module")
def year() -> Iterator[Year]:
    """Read the year's flights."""
    with open_year() as opened:
        yield opened


@pytest.fixture(scope="module")
def minutes(year: Year) -> list[Any]:
    """Replay two days."""
    return year.minutes(DAYS)


@pytest.mark.parametrize("view", VIEWS)
def test_the_rows_are_those_that_a_batch_makes_of_the_whole_year(
    year: Year, minutes: list[Any], view: str
) -> None:
    """What is streamed is what the model was trained on; `make prove` compares a month."""
    assert assert_equal_to_the_batch(year, minutes, view, DAYS) > 100


def test_every_minute_comes_after_the_one_before_it(minutes: list[Any]) -> None:
    """And what becomes known at a minute is of that minute."""
    moments = [minute.at for minute in minutes]
    assert moments == sorted(set(moments))
    assert moments[0] >= DAYS[0]
    assert moments[-1] < DAYS[1]
    for minute in minutes:
        assert {event.row["event_timestamp"] for event in minute.events} <= {minute.at.isoformat()}


def test_every_departure_is_asked_about_an_hour_ahead_and_its_outcome_comes_later(
    year: Year, minutes: list[Any]
) -> None:
    """All that have a tail number, those that are called off included."""
    asked = {q.flight: (m.at, q.instance) for m in minutes for q in m.questions}
    came = {o.flight: (m.at, o.label) for m in minutes for o in m.outcomes}
    due = year.flights["scheduled_departure"] + SHIFT - timedelta(hours=1)
    tail = year.flights["tailnum"].notna()
    assert len(asked) == (tail & (due >= DAYS[0]) & (due < DAYS[1])).sum()
    for at, instance in asked.values():
        assert datetime.fromisoformat(instance["scheduled_departure"]) - at == timedelta(hours=1)
    both = asked.keys() & came.keys()
    assert len(both) > 0.8 * len(asked)
    assert all(asked[flight][0] < came[flight][0] for flight in both)
    assert {label for _, label in came.values()} == {0, 1, 2, None}


def test_what_is_told_does_not_depend_on_what_is_yet_to_come(
    year: Year, minutes: list[Any]
) -> None:
    """With every outcome after a moment made another one, the replay up to it stays the same."""
    moment = DAYS[0] + timedelta(hours=20)
    changed = year.flights.copy()
    for at, values in year.replay.KNOWN_AT.items():
        later = changed[at] + SHIFT > moment
        changed.loc[later, at] += pd.Timedelta(hours=5)
        changed.loc[later, list(values)] += 300.0
    told = [minute for minute in minutes if minute.at < moment]
    assert len(told) > 600
    assert year.minutes((DAYS[0], moment), changed) == told
    assert year.minutes((moment, DAYS[1]), changed) != minutes[len(told) :]


def test_a_replay_may_begin_anywhere(year: Year, minutes: list[Any]) -> None:
    """Its minutes are those of a longer one."""
    noon = DAYS[1] - timedelta(hours=6)
    assert year.minutes((noon, DAYS[1])) == [minute for minute in minutes if minute.at >= noon]
