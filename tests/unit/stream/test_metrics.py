"""What came of messages is counted by stream and outcome, with their ages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from trivet.stream.metrics import Backlog, StreamMetrics
from trivet.stream.taken import Settled
from unit.fakes import NOON
from unit.stream.streams import count, taken


def test_outcomes_are_counted_and_duplicates_apart() -> None:
    """An answer that somebody had given before is none."""
    metrics = StreamMetrics("counted")
    done = [Settled(taken=taken({}), id=str(n), outcome="answered") for n in range(5)]
    done.append(Settled(taken=taken({}), id="x", outcome="dead"))
    metrics.settled(done, 2, NOON + timedelta(seconds=3))
    found = {
        outcome: count("trivet_stream_messages_total", "counted", outcome=outcome)
        for outcome in ("answered", "duplicate", "dead")
    }
    assert found == {"answered": 3, "duplicate": 2, "dead": 1}
    assert count("trivet_stream_age_seconds_count", "counted") == 6
    assert count("trivet_stream_age_seconds_sum", "counted") == 18
    assert count("trivet_stream_age_seconds_bucket", "counted", le="2.0") == 0


@pytest.mark.parametrize("outcome", ["answered", "pushed", "dead"])
@pytest.mark.parametrize("duplicates", [1, 3, 5])
def test_a_duplicate_may_be_of_any_outcome(outcome: str, duplicates: int) -> None:
    """Another consumer was faster; no count goes below zero, whatever a broker says."""
    stream = f"again-{outcome}-{duplicates}"
    done = [Settled(taken=taken({}), id=str(n), outcome=outcome) for n in range(3)]
    StreamMetrics(stream).settled(done, duplicates, NOON)
    again = min(duplicates, 3)
    assert count("trivet_stream_messages_total", stream, outcome=outcome) == 3 - again
    assert count("trivet_stream_messages_total", stream, outcome="duplicate") == again


def test_an_age_is_never_below_zero() -> None:
    """The broker's clock may be ahead of this machine's."""
    metrics = StreamMetrics("ahead")
    metrics.settled(
        [Settled(taken=taken({}), id="1", outcome="pushed")], 0, NOON - timedelta(seconds=9)
    )
    assert count("trivet_stream_age_seconds_sum", "ahead") == 0


def test_the_backlog_is_shown_as_it_was_found() -> None:
    """With what was taken over."""
    metrics = StreamMetrics("behind")
    metrics.backlog(Backlog(waiting=7, pending=3, oldest_seconds=1.5))
    metrics.taken_over(2)
    assert count("trivet_stream_lag_messages", "behind") == 7
    assert count("trivet_stream_pending_messages", "behind") == 3
    assert count("trivet_stream_oldest_seconds", "behind") == 1.5
    assert count("trivet_stream_taken_over_total", "behind") == 2


def test_a_stream_is_held_while_any_of_its_batches_is() -> None:
    """One that was taken over comes to its end while the other one is held; then that one ends."""
    metrics = StreamMetrics("held")
    with metrics.batch(5) as hold:
        hold.say(held=True)
        with metrics.batch(1) as other:
            other.say(held=True)
            other.say(held=False)
            assert count("trivet_stream_retrying", "held") == 1
        assert count("trivet_stream_retrying", "held") == 1
    assert count("trivet_stream_retrying", "held") == 0
    assert count("trivet_stream_batch_messages_sum", "held") == 6
