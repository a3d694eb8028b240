"""A service's metrics are read as histograms, and a quantile is never known better than its bucket."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.errors import MetricsUnreadable, NoTraffic
from trivet.observe.scrape import Answered, Bucket, Durations, read_traffic
from trivet.serving.metrics import SECONDS
from unit.traffic import exposition


def durations(seconds: Sequence[float]) -> Durations:
    """Return the histogram of observed durations."""
    text = exposition([{"predict": one} for one in seconds])
    return read_traffic(text, "shop").steps["predict"]


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    """So the estimate is off by the bucket's width at most."""
    found = durations(seconds).quantile(share)
    true = float(np.quantile(seconds, share, method="inverted_cdf"))
    assert found.bucket.low < true <= found.bucket.high
    assert found.bucket.low <= found.seconds <= found.bucket.high


@given(
    st.lists(st.floats(1e-6, 10), min_size=1, max_size=30),
    st.lists(st.floats(1e-6, 10), min_size=1, max_size=30),
)
def test_what_came_since_an_earlier_look_is_told_apart(
    before: list[float], after: list[float]
) -> None:
    """So a live display shows the last seconds, and not a day's average."""
    found = durations([*before, *after]).since(durations(before))
    assert found.buckets == durations(after).buckets
    assert found.mean_seconds == pytest.approx(np.mean(after), abs=1e-6)


def test_a_service_that_was_started_anew_counts_from_its_start() -> None:
    """Its counts are below those of the look before."""
    anew = durations([0.1])
    assert anew.since(durations([0.1, 0.1])) == anew


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=60))
def test_the_average_is_exact(seconds: list[float]) -> None:
    """It is made of the sum, which no bucket rounds."""
    found = durations(seconds)
    assert found.count == len(seconds)
    assert found.mean_seconds == pytest.approx(np.mean(seconds))


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    """As PromQL does it: 10 below 1 ms, 10 between 1 and 2 ms."""
    found = Durations(
        buckets=(
            Bucket(low=0, high=0.001, count=10),
            Bucket(low=0.001, high=0.002, count=10),
            Bucket(low=0.002, high=math.inf, count=0),
        ),
        sum_seconds=0.02,
    )
    assert found.quantile(0.50).seconds == pytest.approx(0.001)
    assert found.quantile(0.75).seconds == pytest.approx(0.0015)
    assert found.quantile(1.0).seconds == pytest.approx(0.002)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    """More is not known of it."""
    found = durations([100.0] * 3).quantile(0.99)
    assert found.seconds == SECONDS[-1]
    assert math.isinf(found.bucket.high)


def test_steps_stand_in_a_requests_order() -> None:
    """One that is not known comes last."""
    text = exposition([{"zeta": 1.0, "predict": 0.1, "alpha": 0.1, "validate": 0.1}])
    assert list(read_traffic(text, "shop").steps) == ["validate", "predict", "alpha", "zeta"]


def test_answers_are_counted_by_version_and_status() -> None:
    """Refused ones too, which have no duration."""
    text = exposition([{"predict": 0.1}] * 3, refused=2)
    traffic = read_traffic(text, "shop")
    assert traffic.total.count == 3
    assert set(traffic.answered) == {
        Answered(version="1", status="200", count=3),
        Answered(version="1", status="422", count=2),
    }


def test_another_models_traffic_is_not_mixed_in() -> None:
    """A host may run two services, and a scrape may hold both."""
    both = exposition([{"predict": 0.1}]) + exposition([{"predict": 0.2}] * 2, model="cafe")
    assert read_traffic(both, "shop").total.count == 1
    assert read_traffic(both, "cafe").total.sum_seconds == pytest.approx(0.4)


def test_what_several_workers_export_is_added_up() -> None:
    """Where an exporter has not done so already."""
    text = exposition([{"predict": 0.1}]) + exposition([{"predict": 0.3}])
    traffic = read_traffic(text, "shop")
    assert traffic.total.count == 2
    assert traffic.total.sum_seconds == pytest.approx(0.4)


@pytest.mark.parametrize("text", ["", "python_gc_objects_collected_total 3.0\n"])
def test_without_traffic_the_reader_is_told_how_to_send_some(text: str) -> None:
    """It is the first thing that is forgotten."""
    with pytest.raises(NoTraffic) as caught:
        read_traffic(text, "shop")
    assert caught.value.sentence == "The service has answered no request for shop yet."
    assert caught.value.hint == "Send some: trivet predict shop."


def test_requests_that_were_all_refused_are_no_traffic() -> None:
    """They have no steps to report on."""
    with pytest.raises(NoTraffic):
        read_traffic(exposition([], refused=2), "shop")


def test_another_models_traffic_is_named() -> None:
    """The address may be that of another service."""
    with pytest.raises(NoTraffic, match=r"yet\. It has for cafe\."):
        read_traffic(exposition([{"predict": 0.2}], model="cafe"), "shop")


@pytest.mark.parametrize("text", ["<html>not metrics</html>", "a{b=c} 1", "{"])
def test_what_is_no_exposition_is_refused(text: str) -> None:
    """Some other program answers at the address."""
    with pytest.raises(MetricsUnreadable, match="TRIVET_SERVICE_URL"):
        read_traffic(text, "shop")
