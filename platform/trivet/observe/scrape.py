"""From the text of a service's `/metrics` to what it says about one model's traffic."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from trivet.errors import MetricsUnreadable, NoTraffic

_REQUEST, _STEP, _ANSWERS = (
    "trivet_request_seconds",
    "trivet_step_seconds",
    "trivet_requests_total",
)
_STEPS = ("validate", "features", "preprocess", "predict", "postprocess")
"""In a request's order; a step that is not listed comes after these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """So many durations in `(low, high]`, in seconds; the last bucket's `high` is infinite."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """An estimated quantile in seconds, and the bucket that the true one lies in.

    The estimate is off by the bucket's width at most. In the last, unbounded bucket it is the
    lower bound: the true value is larger.
    """

    seconds: float
    bucket: Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """A histogram of durations: which bucket each fell into, and their exact sum."""

    buckets: tuple[Bucket, ...]
    sum_seconds: float

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(bucket.count for bucket in self.buckets)

    @property
    def mean_seconds(self) -> float:
        """Their exact average."""
        return self.sum_seconds / self.count

    def since(self, before: Durations) -> Durations:
        """Return what was observed since an earlier look at the same histogram.

        One that was begun anew meanwhile is returned as it is.
        """
        counts = {bucket.high: bucket.count for bucket in before.buckets}
        if any(bucket.count < counts.get(bucket.high, 0) for bucket in self.buckets):
            return self
        return Durations(
            buckets=tuple(
                replace(bucket, count=bucket.count - counts.get(bucket.high, 0))
                for bucket in self.buckets
            ),
            sum_seconds=self.sum_seconds - before.sum_seconds,
        )

    def quantile(self, share: float) -> Quantile:
        """Estimate a quantile as PromQL's `histogram_quantile` does: linear inside its bucket.

        Args:
            share: such as 0.99, above 0 and at most 1.

        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
        """
        rank, below = share * self.count, 0
        for bucket in self.buckets:
            if bucket.count and below + bucket.count >= rank:
                break
            below += bucket.count
        if math.isinf(bucket.high):
            return Quantile(seconds=bucket.low, bucket=bucket)
        inside = (rank - below) / bucket.count
        return Quantile(seconds=bucket.low + inside * (bucket.high - bucket.low), bucket=bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How many requests one version answered with one status; `none`: no version was reached."""

    version: str
    status: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One model's traffic since its service started, over all of its workers."""

    model: str
    total: Durations
    """Of answered requests, from the body's last byte to the answer."""
    steps: Mapping[str, Durations]
    """By step, in a request's order."""
    answered: tuple[Answered, ...]


def read_traffic(metrics: str, model: str) -> Traffic:
    """Read a Prometheus text exposition.

    Args:
        metrics: the text of `/metrics`.
        model: only its traffic is read.

    Raises:
        MetricsUnreadable: the text is something else.
        NoTraffic: no request of the model has been answered yet.
    """
    samples = _samples(metrics)
    total = _durations(samples, _REQUEST, model).get("")
    if total is None:
        raise NoTraffic(model, sorted(_models(samples) - {model}))
    steps = _durations(samples, _STEP, model)
    return Traffic(
        model=model,
        total=total,
        steps={name: steps[name] for name in sorted(steps, key=_position)},
        answered=tuple(_answered(samples, model)),
    )


def _samples(metrics: str) -> list[Sample]:
    try:
        families = list(text_string_to_metric_families(metrics))
    except (ValueError, KeyError, IndexError) as err:
        raise MetricsUnreadable(str(err)) from err
    return [sample for family in families for sample in family.samples]


def _durations(samples: Iterable[Sample], name: str, model: str) -> dict[str, Durations]:
    """Return a metric's histograms that are not empty, by step ("" where it has no steps)."""
    cumulative: dict[str, dict[float, int]] = defaultdict(lambda: defaultdict(int))
    sums: dict[str, float] = defaultdict(float)
    for sample in samples:
        step = sample.labels.get("step", "")
        if sample.labels.get("model") != model:
            continue
        if sample.name == f"{name}_bucket":
            cumulative[step][float(sample.labels["le"])] += int(sample.value)
        elif sample.name == f"{name}_sum":
            sums[step] += sample.value
    found = {
        step: Durations(buckets=_buckets(bounds), sum_seconds=sums[step])
        for step, bounds in cumulative.items()
    }
    return {step: durations for step, durations in found.items() if durations.count}


def _buckets(cumulative: Mapping[float, int]) -> tuple[Bucket, ...]:
    edges = [(0.0, 0), *sorted(cumulative.items())]
    return tuple(
        Bucket(low=low, high=high, count=upto - below)
        for (low, below), (high, upto) in pairwise(edges)
    )


def _answered(samples: Iterable[Sample], model: str) -> Iterable[Answered]:
    for sample in samples:
        if sample.name == _ANSWERS and sample.labels.get("model") == model:
            yield Answered(
                version=sample.labels["version"],
                status=sample.labels["status"],
                count=int(sample.value),
            )


def _models(samples: Iterable[Sample]) -> set[str]:
    return {s.labels["model"] for s in samples if s.name == f"{_REQUEST}_count" and s.value}


def _position(step: str) -> tuple[int, str]:
    return (_STEPS.index(step) if step in _STEPS else len(_STEPS), step)
