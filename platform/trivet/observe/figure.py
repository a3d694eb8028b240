"""The two figures of a model's traffic: time per step, and the distribution of the total."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from trivet.observe.scrape import Bucket, Durations, Quantile, Traffic

_INK, _FAINT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_AVERAGE, _P99, _TOTAL = "#2f6f9f", "#a9cbe3", "#e2a48a"
_MEAN_LINE, _P99_LINE = "#b3391f", "#7a2616"
_BAR = 0.36
_LABELLED = 0.01
"""Smallest share of requests that gets its number: a bar of less is seen to be small."""
_MOST_TICKS = 14
_NOTE = (
    "Averages are exact. p50 and p99 are interpolated inside a bucket of the service's histogram "
    "and off by its width at most."
)


def draw(traffic: Traffic, at: datetime) -> Figure:
    """Draw both, side by side.

    Args:
        traffic: with at least one answered request.
        at: when the metrics were read.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.04)
    figure = Figure(figsize=(12, 4.9), layout=layout, facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_steps(left, traffic)
    _draw_distribution(right, traffic.total)
    requests = f"{traffic.total.count:,} request{'s' if traffic.total.count > 1 else ''}"
    when = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    figure.suptitle(f"{traffic.model}: {requests}, as of {when}", fontsize=14, color=_INK)
    figure.supxlabel(_NOTE, fontsize=8, color=_FAINT)
    return figure


def _draw_steps(axes: Axes, traffic: Traffic) -> None:
    """Two bars a step from a common zero: the average, and p99 with its bucket as a line."""
    _plain(axes, "Time per step")
    far = 1000 * max(
        max(durations.mean_seconds, _end(durations.quantile(0.99).bucket))
        for durations in traffic.steps.values()
    )
    for row, durations in enumerate(traffic.steps.values()):
        _draw_step(axes, row, durations, far)
    axes.set_yticks(range(len(traffic.steps)), list(traffic.steps), fontsize=10.5, color=_INK)
    axes.set_ylim(len(traffic.steps) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * far)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel("ms", color=_FAINT)
    axes.grid(axis="x", color=_GRID)
    handles, labels = axes.get_legend_handles_labels()
    _legend(axes, dict(zip(labels, handles, strict=True)))


def _draw_step(axes: Axes, row: int, durations: Durations, far: float) -> None:
    mean, high = 1000 * durations.mean_seconds, durations.quantile(0.99)
    end = 1000 * _end(high.bucket)
    axes.barh(row - _BAR / 2, mean, _BAR, color=_AVERAGE, label="average")
    axes.barh(row + _BAR / 2, 1000 * high.seconds, _BAR, color=_P99, label="p99, line: its bucket")
    axes.plot(
        [1000 * high.bucket.low, end],
        [row + _BAR / 2] * 2,
        color=_AVERAGE,
        linewidth=1,
        marker="|",
        markersize=5,
    )
    for x, y, text in ((mean, row - _BAR / 2, _ms(mean)), (end, row + _BAR / 2, _short(high))):
        axes.text(x + 0.015 * far, y, text, va="center", fontsize=9, color=_INK)


def _draw_distribution(axes: Axes, total: Durations) -> None:
    """Bars whose area is their share: the buckets differ in width on a logarithmic axis too."""
    _plain(axes, "Total latency")
    filled = [bucket for bucket in total.buckets if bucket.count]
    for bucket in filled:
        _draw_bucket(axes, bucket, total.count)
    _draw_axis(axes, filled, total.mean_seconds)
    axes.set_yticks([])
    axes.set_ylim(0, 1.12 * max(_height(bucket, total.count) for bucket in filled))
    middle, high = total.quantile(0.50), total.quantile(0.99)
    lines = {
        f"mean {_ms(1000 * total.mean_seconds)} ms": (total.mean_seconds, _MEAN_LINE, "--"),
        f"p50 {_short(middle)} ms": (middle.seconds, _INK, ":"),
        f"p99 {_short(high)} ms": (high.seconds, _P99_LINE, "-"),
    }
    _legend(
        axes,
        {
            label: axes.axvline(1000 * seconds, color=color, linestyle=style, linewidth=1.6)
            for label, (seconds, color, style) in lines.items()
        },
    )


def _draw_axis(axes: Axes, filled: Sequence[Bucket], mean: float) -> None:
    """Mark the buckets' own bounds where they have room, else 1, 2, 5, 10."""
    axes.set_xscale("log")
    axes.set_xlim(1000 * _start(filled[0]) / 1.25, 1250 * max(_end(filled[-1]), mean))
    bounds = {1000 * bound for b in filled for bound in (b.low, b.high) if 0 < bound < math.inf}
    room = len(bounds) <= _MOST_TICKS
    axes.xaxis.set_major_locator(
        FixedLocator(sorted(bounds)) if room else LogLocator(subs=(1, 2, 5))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    hatched = "; hatched: no bound on one side" if any(_is_open(b) for b in filled) else ""
    axes.set_xlabel(
        f"ms, logarithmic; a bar's area is its share of requests{hatched}", color=_FAINT
    )


def _draw_bucket(axes: Axes, bucket: Bucket, requests: int) -> None:
    start, end = 1000 * _start(bucket), 1000 * _end(bucket)
    height, share = _height(bucket, requests), bucket.count / requests
    axes.bar(
        start,
        height,
        end - start,
        align="edge",
        color=_TOTAL,
        edgecolor="white",
        hatch="//" if _is_open(bucket) else None,
    )
    if share >= _LABELLED:
        middle = math.sqrt(start * end)
        axes.annotate(
            f"{share:.0%}",
            (middle, height),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            zorder=3,
        )


def _is_open(bucket: Bucket) -> bool:
    return bucket.low == 0 or math.isinf(bucket.high)


def _height(bucket: Bucket, requests: int) -> float:
    return bucket.count / requests / math.log(_end(bucket) / _start(bucket))


def _start(bucket: Bucket) -> float:
    """Where a bucket begins on a logarithmic axis: the first, from zero, is drawn as a doubling."""
    return bucket.low or bucket.high / 2


def _end(bucket: Bucket) -> float:
    """Where a bucket ends: the last, without end, is drawn as a doubling."""
    return 2 * bucket.low if math.isinf(bucket.high) else bucket.high


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=_INK, pad=26)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def _legend(axes: Axes, entries: dict[str, Artist]) -> None:
    axes.legend(
        list(entries.values()),
        list(entries),
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(entries),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        borderpad=0.2,
        columnspacing=1.4,
    )


def _short(quantile: Quantile) -> str:
    sign = "> " if math.isinf(quantile.bucket.high) else ""
    return f"{sign}{_ms(1000 * quantile.seconds)}"


def _ms(milliseconds: float) -> str:
    """Write to about three significant digits, and no finer than a microsecond."""
    digits = sum(milliseconds < limit for limit in (1, 10, 100))
    return f"{milliseconds:,.{digits}f}"
