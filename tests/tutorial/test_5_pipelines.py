"""Section 5: a pipeline of steps, each of them timed; average and p99 of each."""

from __future__ import annotations

import numpy as np
import pytest

from journey import Service

from .notebook import Notebook

STEPS = ("validate", "features", "preprocess", "predict", "postprocess")
REQUESTS = 100
_ROUNDED = 0.0005
"""Server-Timing is rounded to the microsecond; in milliseconds."""


def test_every_answer_says_how_long_each_step_took(
    classifier_service: Service, notebook: Notebook
) -> None:
    """`Server-Timing` names the steps in their order, each with its milliseconds."""
    for timings in _run(classifier_service, notebook, 3):
        assert tuple(timings) == STEPS
        assert all(milliseconds >= 0 for milliseconds in timings.values())
        assert timings["predict"] > 0


def test_average_and_p99_of_each_step_are_those_of_the_answers(
    classifier_service: Service, notebook: Notebook
) -> None:
    """`/metrics` counted a hundred requests: by sum and bucket, it says what their answers said."""
    before = {step: _histogram(classifier_service, step) for step in STEPS}
    answers = _run(classifier_service, notebook, REQUESTS)
    for step in STEPS:
        seen = np.array([timings[step] for timings in answers])
        counted = _since(before[step], _histogram(classifier_service, step))
        assert counted["count"] == REQUESTS
        average = 1000 * counted["sum"] / counted["count"]
        assert average == pytest.approx(seen.mean(), abs=_ROUNDED)
        low, high = _p99(counted)
        p99 = np.percentile(seen, 99, method="inverted_cdf")
        assert 1000 * low - _ROUNDED <= p99 <= 1000 * high + _ROUNDED


def test_the_whole_takes_at_least_as_long_as_its_steps(
    classifier_service: Service, notebook: Notebook
) -> None:
    """The distribution of total latency counts each request once, and covers all its steps."""
    before = _histogram(classifier_service, None)
    answers = _run(classifier_service, notebook, 20)
    total = _since(before, _histogram(classifier_service, None))
    assert total["count"] == 20
    assert 1000 * total["sum"] >= sum(sum(timings.values()) for timings in answers) - 1


def _run(service: Service, notebook: Notebook, requests: int) -> list[dict[str, float]]:
    """Send test rows one by one, and return each answer's milliseconds by step."""
    answers = []
    for instance in notebook.instances(slice(0, requests)):
        answer = service.post("/predict", {"instances": [instance]})
        assert answer.status_code == 200, answer.text
        parts = [part.split(";dur=") for part in answer.headers["Server-Timing"].split(", ")]
        answers.append({step: float(milliseconds) for step, milliseconds in parts})
    return answers


def _histogram(service: Service, step: str | None) -> dict[str | float, float]:
    """Return a histogram's count, sum, and cumulative buckets by upper bound, over all workers."""
    labels = {} if step is None else {"step": step}
    name = "trivet_request_seconds" if step is None else "trivet_step_seconds"
    buckets = service.samples(f"{name}_bucket", **labels)
    return {
        "count": service.metric(f"{name}_count", **labels),
        "sum": service.metric(f"{name}_sum", **labels),
        **{float(sample.labels["le"]): sample.value for sample in buckets},
    }


def _since(
    before: dict[str | float, float], now: dict[str | float, float]
) -> dict[str | float, float]:
    return {key: value - before.get(key, 0) for key, value in now.items()}


def _p99(histogram: dict[str | float, float]) -> tuple[float, float]:
    """Return the bounds of the bucket in which 99 % of the counted seconds are reached."""
    bounds = [0.0, *sorted(key for key in histogram if isinstance(key, float))]
    reached = next(
        place
        for place, bound in enumerate(bounds)
        if histogram.get(bound, 0) >= 0.99 * histogram["count"]
    )
    return bounds[reached - 1], bounds[reached]
