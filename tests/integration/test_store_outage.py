"""Redis goes away for a few seconds under a service, and comes back empty; the long one is a proof."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outage import Outage, served_from_redis

RATE = 40.0
"""Requests a second."""
SLACK = 4.0
"""Seconds: other tests run beside this one. What hangs takes longer."""


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Outage]:
    """Let it happen."""
    with served_from_redis(tmp_path_factory.mktemp("outage"), RATE, empty_registry) as told:
        content = told.redis.content()
        with told.load:
            with told.redis.down(), told.phase("gone"):
                pass
            with told.phase("empty"):
                pass
            told.redis.restore(content)
            with told.phase("well"):
                pass
        yield told


def test_every_request_is_answered_within_its_deadline(outage: Outage) -> None:
    """By a prediction or by a problem that is the store's: nothing hangs, nothing breaks."""
    outage.in_time(SLACK)


def test_while_redis_is_gone_requests_are_refused(outage: Outage) -> None:
    """With 503 and the time to ask again; the service is not ready."""
    outage.refused("gone")


def test_what_an_empty_redis_lacks_follows_the_columns_policy(outage: Outage) -> None:
    """Each answer names what was missing."""
    outage.by_policy("empty")


def test_answers_are_right_as_soon_as_the_features_are_back(outage: Outage) -> None:
    """All of it is counted, and nothing was restarted."""
    outage.right("well")
    outage.counted_all()
    outage.nothing_restarted()
