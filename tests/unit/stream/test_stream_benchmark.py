"""The benchmark's own parts do what they say."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.stream import Measured, _event_of, _quantile, _request_of, table
from trivet.stream.messages import read_event, read_request

_BUCKET = "trivet_stream_age_seconds_bucket"


@pytest.mark.parametrize(("share", "bound"), [(0.5, 10.0), (0.9, 20.0), (0.99, float("inf"))])
def test_a_quantile_is_of_what_came_since(share: float, bound: float) -> None:
    """The upper bound of its bucket, in milliseconds; what was counted before does not matter."""
    before = {f"{_BUCKET}0.01": 100.0, f"{_BUCKET}0.02": 100.0, f"{_BUCKET}+Inf": 200.0}
    after = {f"{_BUCKET}0.01": 160.0, f"{_BUCKET}0.02": 195.0, f"{_BUCKET}+Inf": 300.0}
    assert _quantile(before, after, share) == bound


def test_what_it_sends_are_messages_of_the_streams() -> None:
    """Each with an id of its own."""
    make_event, make_request = _event_of(), _request_of()
    events = [read_event(make_event(number)) for number in range(3)]
    assert len({event.id for event in events}) == 3
    assert events[0].source == "user_events_push"
    requests = [read_request(make_request(number)) for number in range(3)]
    assert len({request.id for request in requests}) == 3
    assert orjson.loads(make_request(0))["instance"].keys() == {"user_id", "item_id"}


def test_the_table_says_what_was_measured() -> None:
    """A row a role, and one for whatever else took processors."""
    one = Measured(
        role="features",
        asked_per_second=5000,
        done_per_second=4999,
        most_waiting=1234,
        waiting_at_end=3,
        age_p50_ms=20.0,
        age_p99_ms=50.0,
        processor=0.5,
    )
    made = table([one], {"Redis": 0.1})
    assert "| features | 5,000 | 4,999 | 1,234 | 20, 50 ms | 0.50 |" in made
    assert "| Redis | | | | | 0.10 |" in made
