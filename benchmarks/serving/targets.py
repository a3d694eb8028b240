"""What the project has set itself, held against a run: ratios are of figures of the same round."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.serving.results import Results, Spread, Target, Throughput, ratios

_OTHERS = {"mlflow": 20, "mlserver": 20, "bento_sklearn": 20}
_FAST = ("litserve", "rayserve", "bento_onnx")
_KEYED = (("trivet-redis-warm", 0.6), ("trivet-redis-off", 0.3), ("trivet-sqlite-off", 0.25))


def judge(results: Results) -> tuple[Target, ...]:
    """Return every target that the run has figures for."""
    return tuple(
        target
        for part in (_of_limit, _beside_chain, _beside_peers, _latency, _many_rows, _footprint)
        for target in part(results)
    )


def _of_limit(results: Results) -> Iterator[Target]:
    for workers in _workers(results):
        for name, least in (("trivet-value", 0.75), *_KEYED):
            row = _find(results, name, workers)
            if row is not None and row.of_limit is not None:
                yield _at_least(
                    f"{row.title}, {_count(workers)}: of the limit", row.of_limit, least
                )
            if row is not None and name == "trivet-redis-warm":
                what = f"{row.title}, {_count(workers)}: p99 at {results.connections} connections"
                yield _below(what, row.p99_ms, 25, "ms")


def _beside_chain(results: Results) -> Iterator[Target]:
    for workers in _workers(results):
        ours = _find(results, "trivet-redis-off", workers)
        chain = _find(results, "feast-mlflow", workers)
        if ours is not None and chain is not None:
            what = f"{ours.title}, {_count(workers)}: times feast serve + mlflow models serve"
            yield _at_least(what, ratios(ours.rates, chain.rates), 10)


def _beside_peers(results: Results) -> Iterator[Target]:
    for workers in _workers(results):
        ours = _find(results, "trivet-value", workers)
        if ours is None:
            continue
        for name, least in _OTHERS.items():
            other = _find(results, name, workers)
            if other is not None:
                what = f"{ours.title}, {_count(workers)}: times {other.title}"
                yield _at_least(what, ratios(ours.rates, other.rates), least)
        fast = [row for name in _FAST if (row := _find(results, name, workers)) is not None]
        if fast:
            fastest = max(fast, key=lambda row: row.per_second.median)
            what = f"{ours.title}, {_count(workers)}: times the fastest peer ({fastest.title})"
            yield _at_least(what, ratios(ours.rates, fastest.rates), 5)


def _latency(results: Results) -> Iterator[Target]:
    for row in results.open_loop:
        if row.name.startswith("trivet"):
            what = f"{row.title}, {_count(row.workers)}, {row.rate:,.0f}/s open loop"
            yield _below(f"{what}: p50", row.p50_ms, 2, "ms")
            yield _below(f"{what}: p99", row.p99_ms, 10, "ms")


def _many_rows(results: Results) -> Iterator[Target]:
    for row in results.many_rows:
        if row.of_feast is not None:
            least = 4 if row.name.endswith("-warm") else 1.5
            yield _at_least(f"1,000 rows, {row.title}: times Feast alone", row.of_feast, least)


def _footprint(results: Results) -> Iterator[Target]:
    for memory in results.memory:
        if memory.name.startswith("trivet"):
            most = 600 if memory.name.endswith("pyfunc") else 350
            figure = Spread.of([memory.rss_mib])
            yield _below(f"{memory.title}: memory of a worker", figure, most, "MiB")
    for start in results.start:
        what = f"{start.title}, {_count(start.workers)}: start to ready"
        yield _below(what, start.seconds, 12, "s")


def _at_least(what: str, found: Spread, least: float) -> Target:
    shown = f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})"
    return Target(
        what=what, wanted=f"at least {least:g}", found=shown, reached=found.median >= least
    )


def _below(what: str, found: Spread, most: float, unit: str) -> Target:
    spread = "" if found.rounds == 1 else f" ({found.least:.1f} to {found.most:.1f})"
    return Target(
        what=what,
        wanted=f"under {most:g} {unit}",
        found=f"{found.median:.1f} {unit}{spread}",
        reached=found.median < most,
    )


def _workers(results: Results) -> list[int]:
    return sorted({row.workers for row in results.throughput})


def _find(results: Results, name: str, workers: int) -> Throughput | None:
    rows = (row for row in results.throughput if row.name == name and row.workers == workers)
    return next(rows, None)


def _count(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"
