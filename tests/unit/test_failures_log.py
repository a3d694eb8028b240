"""What the service's log says of requests that fail on the service's side."""

from __future__ import annotations

import pytest

from trivet.errors import FeaturesUnavailable, NoChampion
from trivet.serving.routes import Failures


def test_an_outage_is_a_line_at_once_and_a_count_every_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not a line for each of the thousands of requests that fail for the same reason."""
    now = [100.0]
    failures = Failures(lambda: now[0])
    for number in range(2001):
        now[0] = 100 + number / 200
        failures.say(FeaturesUnavailable("Redis is gone."), f"r{number}", "/predict")
    assert [record.getMessage() for record in caplog.records] == [
        "r0 /predict: Redis is gone.",
        "r2000 /predict: Redis is gone. (1999 more of this kind since the last such line)",
    ]


def test_another_failure_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else fails at the same time."""
    failures = Failures(lambda: 100.0)
    failures.say(FeaturesUnavailable("Redis is gone."), "r1", "/predict")
    failures.say(NoChampion("forest"), "r2", "/predict")
    assert len(caplog.records) == 2
