"""A month replayed has every row that the batch makes of the whole year, to the last bit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from replayed import VIEWS, assert_equal_to_the_batch, open_year

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1200)]

JULY = (datetime(2026, 7, 20, tzinfo=UTC), datetime(2026, 8, 19, tzinfo=UTC))
"""July 2013, with its thunderstorms, as of where the year is moved to."""


def test_a_month_of_streamed_rows_is_the_batch_s() -> None:
    """30 days of 3 airports, 16 carriers, 224 routes and every arrival."""
    with open_year() as year:
        minutes = year.minutes(JULY)
        counts = {view: assert_equal_to_the_batch(year, minutes, view, JULY) for view in VIEWS}
    assert counts["airport_recent"] == 30 * 96 * 3
    assert counts["carrier_recent"] == 30 * 24 * 16
    assert counts["route_history"] == 30 * 224
    assert counts["aircraft_last_leg"] > 25_000
