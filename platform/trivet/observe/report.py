"""A report on a model's real traffic: per step and in total, in numbers and as a picture."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from trivet.observe.figure import draw
from trivet.observe.scrape import Answered, Durations, Traffic, read_traffic

PICTURE, DOCUMENT = "latency.png", "latency.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A quantile in milliseconds, interpolated inside the bucket that it certainly lies in."""

    ms: float
    bucket_from_ms: float
    bucket_to_ms: float | None
    """None: the last bucket is unbounded, and `ms` is its lower bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a step, or the whole of a request, takes."""

    name: str
    count: int
    average_ms: float
    """Exact: sum by count."""
    p50: Estimate
    p99: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many requests took between two times."""

    from_ms: float
    to_ms: float | None
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `latency.json` holds; the picture lies beside it."""

    model: str
    at: datetime
    answered: tuple[Answered, ...]
    total: Timing
    steps: tuple[Timing, ...]
    waiting_average_ms: float
    """Exact: the part of the total that is in no step, as waiting for the worker's one thread."""
    distribution: tuple[Share, ...]
    picture: Path


def write_report(metrics: str, model: str, folder: Path, at: datetime) -> Report:
    """Draw the two figures and write the numbers beside them.

    Args:
        metrics: the text of the service's `/metrics`.
        model: whose traffic is reported.
        folder: gets `latency.png` and `latency.json`; made where it does not exist.
        at: when the metrics were read.

    Raises:
        MetricsUnreadable: the text is something else.
        NoTraffic: no request of the model has been answered yet.
    """
    traffic = read_traffic(metrics, model)
    folder.mkdir(parents=True, exist_ok=True)
    report = summarize(traffic, at, folder / PICTURE)
    draw(traffic, at).savefig(report.picture, dpi=160)
    document = json.dumps(asdict(report), indent=2, default=str)
    (folder / DOCUMENT).write_text(document + "\n")
    return report


def summarize(traffic: Traffic, at: datetime, picture: Path) -> Report:
    """Turn histograms into the numbers that a reader asks for."""
    total = _timing("total", traffic.total)
    steps = tuple(_timing(name, durations) for name, durations in traffic.steps.items())
    return Report(
        model=traffic.model,
        at=at,
        answered=traffic.answered,
        total=total,
        steps=steps,
        waiting_average_ms=total.average_ms - sum(step.average_ms for step in steps),
        distribution=tuple(
            Share(from_ms=1000 * b.low, to_ms=_bound(b.high), requests=b.count)
            for b in traffic.total.buckets
            if b.count
        ),
        picture=picture,
    )


def _timing(name: str, durations: Durations) -> Timing:
    return Timing(
        name=name,
        count=durations.count,
        average_ms=1000 * durations.mean_seconds,
        p50=_estimate(durations, 0.50),
        p99=_estimate(durations, 0.99),
    )


def _estimate(durations: Durations, share: float) -> Estimate:
    found = durations.quantile(share)
    return Estimate(
        ms=1000 * found.seconds,
        bucket_from_ms=1000 * found.bucket.low,
        bucket_to_ms=_bound(found.bucket.high),
    )


def _bound(seconds: float) -> float | None:
    return None if math.isinf(seconds) else 1000 * seconds
