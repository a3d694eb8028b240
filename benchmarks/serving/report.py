"""A run as Markdown tables, and the page of the documentation that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.serving.results import Curve, Results, Spread

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def tables(results: Results, level: int = 2) -> str:
    """Return everything that a run found; headings begin at `level`."""
    head = "#" * level
    parts = [_where(results)]
    for workers in sorted({row.workers for row in results.throughput}):
        parts += [f"{head} Requests a second, {_setting(results, workers)}"]
        parts += [_throughput(results, workers)]
    if results.open_loop:
        parts += [f"{head} Latency at half of the peak rate, open loop", _open_loop(results)]
    if results.many_rows:
        parts += [f"{head} A thousand rows a request, by entity key", _many_rows(results)]
    if results.memory or results.start:
        parts += [f"{head} Memory of a worker, and start to ready", _footprint(results)]
    for curve in results.curves:
        parts += [f"{head} {curve.name}", _curve(curve)]
    if results.targets:
        parts += [f"{head} What was set, and what was found", _targets(results)]
    return "\n\n".join(parts) + "\n"


def fill(page: Path, content: str) -> None:
    """Put tables into a page, between its two marks.

    Raises:
        ValueError: the page lacks them.
    """
    before, _, rest = page.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page} has no {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{content}\n{END}{after}")


def _where(results: Results) -> str:
    machine = results.machine
    kind = "A smoke run, not a measurement," if results.quick else "Run"
    return (
        f"{kind} of {results.made_at:%Y-%m-%d %H:%M} UTC: {machine.processor or 'unknown processor'}, "
        f"{machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}, "
        f"Python {machine.python}; {results.seconds:g} s a measurement, "
        f"{results.connections} connections, load average before it {machine.load_before:g}. "
        + ", ".join(f"{name} {number}" for name, number in results.versions.items())
        + ". Medians over the rounds; in brackets the least and the most."
    )


def _setting(results: Results, workers: int) -> str:
    pinned = any(row.pinned for row in results.throughput if row.workers == workers)
    where = "on a core of its own" if pinned else "the generator on the same cores"
    return f"{workers} worker{'s' if workers > 1 else ''}, {where}"


def _throughput(results: Results, workers: int) -> str:
    rows = [row for row in results.throughput if row.workers == workers]
    return _table(
        ("", "requests/s", "of the limit", "p50 ms", "p99 ms"),
        [
            (
                row.title,
                _whole(row.per_second),
                "" if row.of_limit is None else _fine(row.of_limit),
                f"{row.p50_ms.median:.1f}",
                f"{row.p99_ms.median:.1f}",
            )
            for row in sorted(rows, key=lambda row: -row.per_second.median)
        ],
    )


def _open_loop(results: Results) -> str:
    return _table(
        ("", "workers", "rate", "p50 ms", "p99 ms", "generator late, p99 ms", "its CPU"),
        [
            (
                row.title,
                str(row.workers),
                f"{row.rate:,.0f}",
                _fine(row.p50_ms),
                _fine(row.p99_ms),
                f"{row.generator_late_p99_ms.median:.2f}",
                f"{row.generator_cpu_share.median:.0%}",
            )
            for row in results.open_loop
        ],
    )


def _many_rows(results: Results) -> str:
    return _table(
        ("", "rows/s", "times Feast alone"),
        [
            (
                row.title,
                _whole(row.rows_per_second),
                "" if row.of_feast is None else _fine(row.of_feast),
            )
            for row in results.many_rows
        ],
    )


def _footprint(results: Results) -> str:
    memory = _table(
        ("worker's memory, MiB", "resident", "with its share of what is shared"),
        [(row.title, f"{row.rss_mib:.0f}", f"{row.pss_mib:.0f}") for row in results.memory],
    )
    start = _table(
        ("start to ready", "workers", "seconds"),
        [(row.title, str(row.workers), _fine(row.seconds)) for row in results.start],
    )
    return f"{memory}\n\n{start}" if results.start else memory


def _curve(curve: Curve) -> str:
    weighed = any(point.memory_mib is not None for point in curve.points)
    return _table(
        (curve.axis, curve.unit, "p50 ms", *(["worker's memory, MiB"] if weighed else [])),
        [
            (
                f"{point.x:,.0f}",
                _whole(point.per_second),
                f"{point.p50_ms.median:.2f}",
                *([f"{point.memory_mib:.0f}"] if point.memory_mib is not None else []),
            )
            for point in curve.points
        ],
    )


def _targets(results: Results) -> str:
    return _table(
        ("", "set", "found", ""),
        [
            (target.what, target.wanted, target.found, "yes" if target.reached else "**no**")
            for target in results.targets
        ],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    line = "| --- |" + " ---: |" * (len(head) - 1)
    return "\n".join([f"| {' | '.join(head)} |", line, *(f"| {' | '.join(row)} |" for row in rows)])


def _whole(figure: Spread) -> str:
    return f"{figure.median:,.0f} ({figure.least:,.0f} to {figure.most:,.0f})"


def _fine(figure: Spread) -> str:
    return f"{figure.median:.2f} ({figure.least:.2f} to {figure.most:.2f})"
