"""A run as tables, as a picture, and in the page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from benchmarks.gateway.found import Found, Row
from benchmarks.serving.report import fill
from benchmarks.serving.results import Spread

_INK, _FAINT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_SERVERS, _PROXY, _GENERATOR, _DIRECT = "#2f6f9f", "#b3391f", "#b7c0ca", "#a9cbe3"
_SHOWN = {"bare": "bare ASGI app", "trivet": "Trivet"}


def tables(found: Found, level: int = 2) -> str:
    """Return everything that a run found; headings begin at `level`."""
    head = "#" * level
    cost = [row for row in found.rows if row.replicas == row.workers == 1]
    scaling = [row for row in found.rows if row.app == "trivet" and row.through]
    parts = [
        _where(found),
        f"{head} What the gateway costs",
        _cost(cost),
        f"{head} Replicas and workers",
        _scaling(scaling, found.machine.cores),
    ]
    return "\n\n".join(parts) + "\n"


def _where(found: Found) -> str:
    machine = found.machine
    kind = "A smoke run, not a measurement," if found.quick else "Run"
    return (
        f"{kind} of {found.made_at:%Y-%m-%d %H:%M} UTC: {machine.processor or 'unknown processor'}, "
        f"{machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}, Python "
        f"{machine.python}; {found.rounds} rounds of {found.seconds:g} s a measurement, "
        f"{found.connections} connections, load average before it {machine.load_before:g}. "
        + ", ".join(f"{name} {number}" for name, number in found.versions.items())
        + ". Medians over the rounds; in brackets the least and the most. Replicas, proxy and "
        "generator share all cores; what each took is processor time, measured."
    )


def _cost(rows: Sequence[Row]) -> str:
    lines = [
        "| | requests/s | of direct | p50 ms | open loop at | p50 ms | p99 ms | proxy, us a request |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        way = "through the gateway" if row.through else "direct"
        share = _two(row.of_direct) if row.of_direct else "1"
        lines.append(
            f"| {_SHOWN[row.app]}, {way} | {_whole(row.per_second)} | {share} | {_two(row.p50_ms)} "
            f"| {row.calm_rate:,.0f}/s | {_two(row.calm_p50_ms)} | {_two(row.calm_p99_ms)} "
            f"| {f'{row.proxy_us:.0f}' if row.through else '-'} |"
        )
    return "\n".join(lines)


def _scaling(rows: Sequence[Row], cores: int) -> str:
    lines = [
        (
            "| replicas x workers | requests/s | p50 ms | p99 ms | replicas, cores | proxy, cores "
            "| generator, cores | replicas, us a request |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.replicas} x {row.workers} | {_whole(row.per_second)} | {_two(row.p50_ms)} "
        f"| {_two(row.p99_ms)} | {_two(row.server_cores)} | {_two(row.proxy_cores)} "
        f"| {_two(row.generator_cores)} | {row.server_us:.0f} |"
        for row in rows
    ]
    return "\n".join([*lines, "", _taken(rows, cores)])


def _taken(rows: Sequence[Row], cores: int) -> str:
    """Say what a request takes of the processor, and where cores are planned."""
    one = rows[0]
    return (
        f"Of one worker behind the gateway a request takes {one.server_us:.0f} us of processor time, "
        f"and {one.proxy_us:.0f} us of HAProxy's; {cores} cores carried both and the generator. How "
        "many workers and how much of HAProxy a rate needs stands in [sizing](sizing.md)."
    )


def draw(found: Found, path: Path) -> None:
    """Draw the rates of all arrangements, and who took the cores meanwhile."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.04)
    figure = Figure(figsize=(13, 1.6 + 0.5 * len(found.rows)), layout=layout, facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = list(reversed(found.rows))
    far = max(row.per_second.most for row in rows)
    for number, row in enumerate(rows):
        rate = row.per_second
        left.barh(number, rate.median, 0.62, color=_SERVERS if row.through else _DIRECT)
        left.plot([rate.least, rate.most], [number] * 2, color=_INK, linewidth=1, marker="|")
        share = "" if row.of_direct is None else f"  ({row.of_direct.median:.2f} of direct)"
        text = f"{rate.median:,.0f}{share}"
        left.text(rate.most + 0.015 * far, number, text, va="center", fontsize=9, color=_INK)
        _cores(right, number, row)
    left.set_yticks(range(len(rows)), [_title(row) for row in rows], color=_INK)
    left.set_xlim(0, 1.45 * far)
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    left.set_xlabel("requests/s", color=_FAINT)
    right.set_xlabel("cores taken", color=_FAINT)
    for axes, title in ((left, "Closed loop"), (right, "Who took the cores")):
        _plain(axes, title)
    handles, labels = right.get_legend_handles_labels()
    right.legend(
        handles[:3],
        labels[:3],
        frameon=False,
        fontsize=9,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
    )
    right.set_xlim(0, 1.05 * found.machine.cores)
    kind = "A smoke run: the" if found.quick else "The"
    figure.suptitle(f"{kind} gateway, its replicas and their workers", fontsize=14, color=_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _cores(axes: Axes, number: int, row: Row) -> None:
    start = 0.0
    for label, cores, color in (
        ("replicas", row.server_cores, _SERVERS),
        ("proxy", row.proxy_cores, _PROXY),
        ("generator", row.generator_cores, _GENERATOR),
    ):
        axes.barh(number, cores.median, 0.62, left=start, color=color, label=label)
        start += cores.median


def _title(row: Row) -> str:
    way = "gateway" if row.through else "direct"
    return f"{_SHOWN[row.app]}, {row.replicas} x {row.workers}, {way}"


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=_INK)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.grid(axis="x", color=_GRID)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def fill_page(found: Found, page: Path, picture: Path) -> None:
    """Put a run into the page of the documentation, its picture beside it."""
    (page.parent / "gateway-benchmarks.png").write_bytes(picture.read_bytes())
    shown = "![requests a second, and who took the cores](gateway-benchmarks.png)"
    fill(page, f"{shown}\n\n{tables(found, level=3)}")


def _whole(spread: Spread) -> str:
    return f"{spread.median:,.0f} ({spread.least:,.0f} to {spread.most:,.0f})"


def _two(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"
