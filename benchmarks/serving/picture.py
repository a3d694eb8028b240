"""A run as pictures: bars of requests a second, and curves of how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.serving.results import Curve, Results, Throughput

_INK, _FAINT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_OURS, _LIMIT, _OTHER, _LATENCY = "#2f6f9f", "#b7c0ca", "#e2a48a", "#b3391f"


def draw_throughput(results: Results, path: Path) -> None:
    """Draw requests a second, a panel a number of workers."""
    counts = sorted({row.workers for row in results.throughput})
    height = 1.6 + 0.42 * max(
        sum(row.workers == workers for row in results.throughput) for workers in counts
    )
    figure = _figure((13, height))
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, workers in zip(panels, counts, strict=True):
        rows = [row for row in results.throughput if row.workers == workers]
        _draw_bars(axes, sorted(rows, key=lambda row: row.per_second.median))
        where = "on a core of its own" if rows[0].pinned else "on all cores"
        title = f"{workers} worker{'s' if workers > 1 else ''} {where}"
        _plain(axes, title)
        axes.tick_params(axis="y", labelsize=9.5)
    kind = "A smoke run: " if results.quick else ""
    figure.suptitle(f"{kind}Single-row requests a second", fontsize=14, color=_INK)
    figure.supxlabel(
        f"{results.made_at:%Y-%m-%d}, {results.machine.cores} cores, {results.connections} "
        "connections; median of the rounds, line: least to most",
        fontsize=8,
        color=_FAINT,
    )
    _save(figure, path)


def draw_curve(curve: Curve, path: Path) -> None:
    """Draw one curve: what is done a second, and the median latency beside it."""
    figure = _figure((9, 4.2))
    left, right = figure.subplots(1, 2)
    x = [point.x for point in curve.points]
    rates = [point.per_second for point in curve.points]
    times = [point.p50_ms for point in curve.points]
    left.plot(x, [rate.median for rate in rates], color=_OURS, marker="o", markersize=4)
    left.fill_between(
        x, [rate.least for rate in rates], [rate.most for rate in rates], color=_OURS, alpha=0.2
    )
    right.plot(x, [time.median for time in times], color=_LATENCY, marker="o", markersize=4)
    right.fill_between(
        x, [time.least for time in times], [time.most for time in times], color=_LATENCY, alpha=0.2
    )
    for axes, title in ((left, curve.unit), (right, "p50, ms")):
        _plain(axes, title)
        axes.set_ylim(0)
        axes.set_xlabel(curve.axis, color=_FAINT)
        axes.grid(color=_GRID)
        if max(x) >= 100 * min(x):
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    figure.suptitle(curve.name, fontsize=13, color=_INK)
    _save(figure, path)


def _draw_bars(axes: Axes, rows: Sequence[Throughput]) -> None:
    far = max(row.per_second.most for row in rows)
    for number, row in enumerate(rows):
        rate = row.per_second
        axes.barh(number, rate.median, 0.62, color=_color(row))
        axes.plot([rate.least, rate.most], [number] * 2, color=_INK, linewidth=1, marker="|")
        share = "" if row.of_limit is None else f"  ({row.of_limit.median:.2f})"
        label = f"{rate.median:,.0f}{share}"
        axes.text(rate.most + 0.015 * far, number, label, va="center", fontsize=9, color=_INK)
    axes.set_yticks(range(len(rows)), [row.title for row in rows], color=_INK)
    axes.set_xlim(0, 1.25 * far)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))  # more labels run into each other
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("requests/s (in brackets: of the limit)", color=_FAINT)
    axes.grid(axis="x", color=_GRID)


def _color(row: Throughput) -> str:
    if row.name == "limit":
        return _LIMIT
    return _OURS if row.name.startswith("trivet") else _OTHER


def _figure(size: tuple[float, float]) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.04)
    return Figure(figsize=size, layout=layout, facecolor="white")


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=_INK)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
