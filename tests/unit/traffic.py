"""The metrics that a service would export after some traffic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from trivet.serving.metrics import SECONDS


def exposition(
    requests: Iterable[Mapping[str, float]], *, model: str = "shop", refused: int = 0
) -> str:
    """Return the text of `/metrics`.

    Args:
        requests: seconds by step, one mapping a request; version 1 answers each.
        model: that was asked.
        refused: so many more were answered by 422.
    """
    registry = CollectorRegistry()
    steps = Histogram(
        "trivet_step_seconds", "-", ["model", "step"], registry=registry, buckets=SECONDS
    )
    total = Histogram("trivet_request_seconds", "-", ["model"], registry=registry, buckets=SECONDS)
    answers = Counter(
        "trivet_requests_total", "-", ["model", "version", "status"], registry=registry
    )
    for request in requests:
        for step, seconds in request.items():
            steps.labels(model, step).observe(seconds)
        total.labels(model).observe(sum(request.values()))
        answers.labels(model, "1", "200").inc()
    if refused:
        answers.labels(model, "1", "422").inc(refused)
    return generate_latest(registry).decode()
