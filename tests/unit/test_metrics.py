"""What a worker counts is what a report reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

import prometheus_client
import pytest

from trivet.contract import View
from trivet.features.values import AbsentValue, Features, to_microseconds
from trivet.observe import scrape
from trivet.observe.scrape import read_traffic
from trivet.serving import bulk
from trivet.serving.asking import Asked
from trivet.serving.log.entry import Answered, Entry
from trivet.serving.metrics import SECONDS, Metrics
from unit.fakes import AGE, NOON, USERS, shop


def entry(
    *totals: float,
    kept: tuple[bool, ...],
    absent: tuple[AbsentValue, ...],
    known: dict[str, list[datetime | None]],
) -> Entry:
    """Return a batch of requests of three rows each, by how long each took."""
    contract = shop()
    moments = {
        view: [None if one is None else to_microseconds(one) for one in times]
        for view, times in known.items()
    }
    return Entry(
        requests=[
            Answered(
                request_id="r",
                route="champion",
                rows=3,
                validate_seconds=0.0001,
                features_seconds=0.0002,
                total_seconds=total,
                kept=keep,
            )
            for total, keep in zip(totals, kept, strict=True)
        ],
        asked_at=NOON,
        contract=contract,
        digest=contract.digest,
        version=2,
        asked=Asked(rows=0, keys={}, sent=[], names=()),
        features=Features(values={}, absent=(), known=moments),
        absent=absent,
        columns={},
        predictions=[],
        seconds={"predict": 0.0003},
    )


@pytest.fixture(scope="module")
def registry() -> Iterator[prometheus_client.CollectorRegistry]:
    """Have metrics registered apart: another test of this process may have registered its own."""
    own = prometheus_client.CollectorRegistry()
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (prometheus_client, "Counter"),
            (prometheus_client, "Gauge"),
            (bulk, "Histogram"),
        ):
            patch.setattr(module, name, partial(getattr(module, name), registry=own))
        yield own


@pytest.fixture(scope="module")
def exposition(registry: prometheus_client.CollectorRegistry) -> str:
    """Return the metrics of a worker that has answered twice at once, and refused twice.

    Nobody waited any more for a third answer.
    """
    metrics = Metrics("shop")
    expired = AbsentValue(row=0, column=AGE, why="expired", age_seconds=9.0)
    seen = {"users": [NOON - timedelta(hours=1), None, NOON], "planes": [None]}
    metrics.answered(entry(0.0009, 0.004, kept=(True, True), absent=(expired,) * 2, known=seen))
    later = {"users": [NOON + timedelta(hours=1)]}
    metrics.answered(entry(0.5, kept=(False,), absent=(expired,), known=later))
    assert "trivet_predictions_total{" not in prometheus_client.generate_latest(registry).decode()
    metrics.flush()
    metrics.flush()
    metrics.refused(2, 422)
    metrics.overloaded()
    metrics.live(2)
    metrics.state(refused=True, differences=3, left_out=1, held_bytes=7, reachable=False)
    metrics.views([USERS, View(name="planes", join_keys=("user_id",))])
    return prometheus_client.generate_latest(registry).decode()


def test_buckets_grow_and_never_by_more_than_two_and_a_half() -> None:
    """A quantile is known to its bucket: a wide one would say nothing."""
    assert all(low < high <= 2.5 * low for low, high in pairwise(SECONDS))
    assert SECONDS[0] <= 0.00001
    assert SECONDS[-1] >= 5


def test_a_bucket_ends_at_each_target() -> None:
    """So that the share of requests within 1, 5 or 10 ms is exact."""
    assert {0.001, 0.005, 0.01, 0.1, 1.0} <= set(SECONDS)


def test_a_report_reads_what_a_worker_has_counted(exposition: str) -> None:
    """The names and labels on both sides are the same."""
    traffic = read_traffic(exposition, "shop")
    assert traffic.total.count == 2
    assert traffic.total.sum_seconds == pytest.approx(0.0049)
    assert list(traffic.steps) == ["validate", "features", "predict"]
    assert set(traffic.answered) == {
        scrape.Answered(version="2", status="200", count=2),
        scrape.Answered(version="2", status="422", count=1),
        scrape.Answered(version="none", status="503", count=1),
    }


def test_rows_and_absent_values_and_the_live_version_are_counted(exposition: str) -> None:
    """For dashboards and alerts."""
    assert 'trivet_predictions_total{model="shop",version="2"} 6.0' in exposition
    absent = 'trivet_absent_values_total{column="age",model="shop",why="expired"} 2.0'
    assert absent in exposition
    assert 'trivet_live_version{model="shop"} 2.0' in exposition


def test_freshness_is_the_newest_event_time_that_was_served(exposition: str) -> None:
    """Looked at once a second; a view that never expires has no number to compare with."""
    newest = 'trivet_view_newest_timestamp_seconds{model="shop",view="users"} 1.7953488e+09'
    assert newest in exposition
    assert 'trivet_view_newest_timestamp_seconds{model="shop",view="planes"}' not in exposition
    assert 'trivet_view_ttl_seconds{model="shop",view="users"} 3600.0' in exposition
    assert 'trivet_view_ttl_seconds{model="shop",view="planes"} NaN' in exposition


def test_what_is_refused_and_what_no_longer_fits_is_a_number(exposition: str) -> None:
    """An alert looks at it."""
    assert 'trivet_release_refused{model="shop"} 1.0' in exposition
    assert 'trivet_feature_differences{model="shop"} 3.0' in exposition
    assert 'trivet_versions_left_out{model="shop"} 1.0' in exposition
    assert 'trivet_loaded_versions_bytes{model="shop"} 7.0' in exposition
    assert 'trivet_registry_reachable{model="shop"} 0.0' in exposition


def test_what_was_not_begun_is_counted_by_itself_and_among_the_refused(exposition: str) -> None:
    """An alert on overload must not ring for a model without a champion."""
    assert 'trivet_overloaded_total{model="shop"} 1.0' in exposition
    assert 'trivet_requests_total{model="shop",status="503",version="none"} 1.0' in exposition
