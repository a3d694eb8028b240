"""Redis is gone for a minute, silent, slow, and restarted empty, under load: what a service answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outage import Outage, served_from_redis

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

RATE = 200.0
"""Requests a second."""
SLACK = 0.5
"""Seconds after its deadline by which a request is answered at the latest, on a machine of its own."""
WELL = 12.0
GONE = 60.0
SILENT = 15.0
SLOW = 20.0
EMPTY = 10.0


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Outage]:
    """Let it happen; each phase is followed by one in which all is well."""
    with served_from_redis(tmp_path_factory.mktemp("outage"), RATE, empty_registry) as told:
        with told.load:
            _well(told, "well")
            with told.redis.down(), told.phase("gone", GONE):
                pass
            with told.phase("back, empty", EMPTY):
                pass
            told.materialize()
            _well(told, "well after it was gone")
            with told.redis.silent(), told.phase("silent", SILENT):
                pass
            _well(told, "well after it was silent")
            with told.phase("slow"):
                _stutter(told, SLOW)
            _well(told, "well after it was slow")
            with told.redis.down():
                pass
            with told.phase("restarted, empty", EMPTY):
                pass
            told.materialize()
            _well(told, "well after it was restarted")
        yield told


def test_every_request_is_answered_within_its_deadline(outage: Outage) -> None:
    """By a prediction or by a problem that is the store's: nothing hangs, nothing breaks."""
    outage.in_time(SLACK)


@pytest.mark.parametrize("phase", ["gone", "silent"])
def test_while_redis_does_not_answer_requests_are_refused(outage: Outage, phase: str) -> None:
    """With 503 and the time to ask again; the service is not ready."""
    outage.refused(phase)


def test_a_slow_redis_is_used_as_long_as_it_answers_in_time(outage: Outage) -> None:
    """What it answers within the deadline is served."""
    phase = outage["slow"]
    sent = outage.load.between(phase.start, phase.end)
    answered = [s for s in sent if s.status == 200]
    assert len(answered) > len(sent) / 2
    assert all(s.document["predictions"] == outage.usual for s in answered)


@pytest.mark.parametrize("phase", ["back, empty", "restarted, empty"])
def test_what_an_empty_redis_lacks_follows_the_columns_policy(outage: Outage, phase: str) -> None:
    """Each answer names what was missing."""
    outage.by_policy(phase)


@pytest.mark.parametrize(
    "phase",
    [
        "well",
        "well after it was gone",
        "well after it was silent",
        "well after it was slow",
        "well after it was restarted",
    ],
)
def test_answers_are_right_again_within_seconds(outage: Outage, phase: str) -> None:
    """From features; and the service is ready."""
    outage.right(phase)


def test_everything_is_counted(outage: Outage) -> None:
    """`/metrics` tells of each request its status, and of each value that it was missing."""
    outage.counted_all()


def test_nothing_was_restarted(outage: Outage) -> None:
    """It recovers by itself; every worker that was started has answered."""
    outage.nothing_restarted()


def _well(told: Outage, name: str) -> None:
    with told.phase(name, WELL):
        pass


def _stutter(told: Outage, seconds: float) -> None:
    """Stop Redis for a moment, again and again: each moment is shorter than the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with told.redis.silent():
            time.sleep(0.2)
        time.sleep(0.2)
