"""The picture of training beside serving: a small figure a column, the most different first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from trivet.observe.skew.distribution import Distribution, Spread

_INK, _FAINT, _GRID, _ALARM = "#1f2933", "#6b7785", "#e4e8ec", "#b3391f"
_TRAINING, _SERVING = "#2f6f9f", "#d9772b"
_ACROSS = 4
MOST = 24
"""Columns that have room."""
_LONGEST = 14
_LEAST = 0.00005
_CHARACTERS = 15
"""Of a note, to the inch."""


def draw(
    title: str, distributions: Sequence[Distribution], skewed: Mapping[str, float], note: str
) -> Figure:
    """Draw every column, in the order that is given, up to `MOST`.

    Args:
        title: of the whole.
        distributions: at least one.
        skewed: the share of skewed values by column, of those that have some.
        note: what stands below.
    """
    shown = distributions[:MOST]
    across = min(_ACROSS, len(shown))
    rows = math.ceil(len(shown) / across)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.05)
    figure = Figure(
        figsize=(max(3.6 * across, 9.5), 2.3 * rows + 1.3), layout=layout, facecolor="white"
    )
    grid = np.asarray(figure.subplots(rows, across, squeeze=False)).ravel()
    for axes, one in zip(grid, shown, strict=False):
        _draw(axes, one, skewed.get(one.column, 0.0))
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=13, color=_INK, x=0.01, ha="left")
    figure.legend(
        handles=_entries(shown[0]),
        loc="outside upper right",
        ncols=2,
        frameon=False,
        fontsize=9.5,
        labelcolor=_INK,
        borderaxespad=0.2,
    )
    left_out = len(distributions) - len(shown)
    more = f" {left_out} more columns are less apart and are not drawn." if left_out else ""
    wide = round(_CHARACTERS * figure.get_figwidth())
    lines = [fill(line, wide) for line in f"{note}{more}".splitlines()]
    figure.supxlabel("\n".join(lines), fontsize=8, color=_FAINT, x=0.01, ha="left")
    return figure


def _entries(one: Distribution) -> list[Patch]:
    entries = [Patch(color=_SERVING, label=f"serving ({one.serving.rows:,} rows)")]
    if one.training is not None:
        label = f"training ({one.training.rows:,} rows)"
        entries.insert(0, Patch(color=_TRAINING, alpha=0.55, label=label))
    return entries


def _draw(axes: Axes, one: Distribution, skewed: float) -> None:
    if one.edges is None:
        _draw_values(axes, one)
    else:
        _draw_range(axes, one.edges, one)
    axes.set_title(one.column, loc="left", fontsize=9.5, fontweight="bold", color=_INK, pad=16)
    axes.text(
        0, 1.04, _said(one), transform=axes.transAxes, fontsize=7.8, color=_FAINT, va="bottom"
    )
    if skewed:
        axes.set_title(
            f"skew {_percent(skewed)}",
            loc="right",
            fontsize=8.5,
            fontweight="bold",
            color=_ALARM,
            pad=16,
        )
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_GRID)
    axes.tick_params(length=0, labelcolor=_INK, labelsize=7.5)
    axes.margins(x=0.03)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def _draw_range(axes: Axes, edges: np.ndarray, one: Distribution) -> None:
    """Training as an area, serving as a line over it: both stay visible where they agree."""
    if one.training is not None:
        axes.stairs(one.training.shares, edges, fill=True, color=_TRAINING, alpha=0.55)
    axes.stairs(one.serving.shares, edges, color=_SERVING, linewidth=1.6, baseline=None)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _draw_values(axes: Axes, one: Distribution) -> None:
    at = np.arange(len(one.values))
    width = 0.4 if one.training is not None else 0.7
    shift = width / 2 if one.training is not None else 0.0
    if one.training is not None:
        axes.bar(at - shift, one.training.shares, width, color=_TRAINING, alpha=0.55)
    axes.bar(at + shift, one.serving.shares, width, color=_SERVING)
    axes.set_xticks(at, [_short(value) for value in one.values])
    if sum(len(_short(value)) for value in one.values) > 4 * 9:  # they would touch
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")


def _said(one: Distribution) -> str:
    parts = [] if one.training is None else [f"apart {_percent(one.distance)}"]
    sides: list[Spread] = [one.serving] if one.training is None else [one.training, one.serving]
    if any(side.absent > 0 for side in sides):
        parts.append("absent " + " → ".join(_percent(side.absent) for side in sides))
    return ", ".join(parts)


def _percent(share: float) -> str:
    """Write a share with as many digits as tell it from nothing.

    >>> [_percent(share) for share in (0.0, 1e-6, 0.0004, 0.021, 0.0999, 0.5)]
    ['0 %', '< 0.01 %', '0.04 %', '2.1 %', '10 %', '50 %']
    """
    if 0 < share < _LEAST:
        return "< 0.01 %"
    digits = sum(share < limit for limit in (0.0995, 0.00995))
    return f"{100 * share:.{digits}f} %" if share else "0 %"


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
