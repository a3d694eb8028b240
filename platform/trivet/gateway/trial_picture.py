"""The picture of a trial: requests by replica, and how long answers take, for each strategy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullLocator

from trivet.gateway.configuration import Balance
from trivet.gateway.trial import BALANCES, BalanceReport, Tried

_INK, _FAINT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_REPLICAS = ("#2f6f9f", "#6ba3c8", "#a9cbe3", "#7a8f76", "#b9c8a5", "#d9b779")
_SLOW = "#e2a48a"
_LINES: dict[Balance, str] = {
    "round_robin": "#b3391f",
    "least_connections": "#2f6f9f",
    "random": "#8a8f3c",
}
_STYLES: dict[Balance, str] = {"round_robin": "-", "least_connections": "-", "random": "--"}
_SEEN = 0.999
"""The share of requests up to which latency is drawn: the rest would squeeze it."""


def draw(report: BalanceReport) -> Figure:
    """Draw four plots: above equal replicas, below one of them slow; left counts, right latency."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.05, hspace=0.06)
    figure = Figure(figsize=(12, 8.2), layout=layout, facecolor="white")
    grid = figure.subplots(2, 2, width_ratios=(1.15, 1))
    parts = (
        (True, "equal replicas"),
        (False, f"{report.replicas[-1]} answers {report.slow_ms:g} ms later"),
    )
    shown = report.tried
    low = min((min(one.milliseconds, default=1.0) for one in shown), default=1.0)
    high = max((_at(one.milliseconds, _SEEN) for one in shown), default=10.0)
    for row, (equal, title) in enumerate(parts):
        tried = [one for one in report.tried if one.equal is equal]
        _draw_counts(grid[row][0], report, tried, f"Requests by replica: {title}")
        _draw_latency(grid[row][1], tried, f"Latency: {title}", (low, high))
    when = report.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    each = sum(shown[0].requests.values()) + shown[0].failed
    figure.suptitle(
        f"{report.model}: {each:,} requests for each strategy, {report.rate:g} a second, {when}",
        fontsize=14,
        color=_INK,
    )
    return figure


def _draw_counts(axes: Axes, report: BalanceReport, tried: Sequence[Tried], title: str) -> None:
    _plain(axes, title)
    names = report.replicas
    width = 0.8 / len(names)
    most = max((max(one.requests.values()) for one in tried), default=1)
    for number, name in enumerate(names):
        slow = number == len(names) - 1 and not tried[0].equal
        color = _SLOW if slow else _REPLICAS[number % len(_REPLICAS)]
        places = [at - 0.4 + width * (number + 0.5) for at in range(len(tried))]
        counts = [one.requests[name] for one in tried]
        axes.bar(places, counts, 0.92 * width, color=color, label=f"{name}, slow" if slow else name)
        for place, count in zip(places, counts, strict=True):
            axes.text(
                place, count + 0.015 * most, f"{count:,}", ha="center", fontsize=9, color=_INK
            )
    failed = [f"\n{one.failed:,} failed" if one.failed else "" for one in tried]
    labels = [_words(one.balance) + more for one, more in zip(tried, failed, strict=True)]
    axes.set_xticks(range(len(tried)), labels, fontsize=10.5, color=_INK)
    axes.set_ylim(0, 1.22 * most)
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=9, ncols=min(4, len(names)), loc="upper left")


def _draw_latency(
    axes: Axes, tried: Sequence[Tried], title: str, limits: tuple[float, float]
) -> None:
    """One line a strategy: the share of requests (up) that is answered within a time (right)."""
    _plain(axes, title)
    for one in tried:
        times = np.sort(np.asarray(one.milliseconds))
        shares = np.arange(1, len(times) + 1) / max(1, len(times))
        figures = f"p50 {one.p50_ms:.1f}, p95 {one.p95_ms:.1f}, p99 {one.p99_ms:.1f} ms"
        axes.plot(
            times,
            100 * shares,
            color=_LINES[one.balance],
            linestyle=_STYLES[one.balance],
            linewidth=1.8,
            label=f"{_words(one.balance)}: {figures}",
        )
    axes.set_xscale("log")
    axes.set_xlim(0.9 * limits[0], 1.1 * limits[1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([tick for tick in _ticks() if limits[0] <= tick <= 1.1 * limits[1]])
    axes.set_ylim(0, 101)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlabel("answered within, ms", color=_FAINT)
    axes.grid(color=_GRID)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _ticks() -> list[float]:
    return [digit * 10.0**power for power in range(-1, 5) for digit in (1, 2, 5)]


def _at(times: Sequence[float], share: float) -> float:
    ordered = sorted(times) or [1.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _words(balance: Balance) -> str:
    return dict(zip(BALANCES, ("round robin", "least connections", "random"), strict=True))[balance]


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11.5, color=_INK, loc="left")
    axes.tick_params(colors=_FAINT, length=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
