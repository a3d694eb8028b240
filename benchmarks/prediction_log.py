"""What the prediction log costs: the data plane with and without it, interleaved in one run.

    python benchmarks/prediction_log.py [--rounds 9] [--seconds 2] [--json]

In process, without HTTP: eight requests at a time, each a JSON body of one or of 64 rows, are answered
by a forest of 100 trees in ONNX Runtime on 20 columns, which are all in the request or all from an
in-memory reader of five feature views. Rounds with and without the log take turns, so that whatever
else the machine does falls on both; the figures are medians over the rounds. The processor's time is
that of the log's own process too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from skl2onnx.sklapi import CastTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trivet.clock import system_clock
from trivet.contract import Classification, Column, Contract, JoinKey, Runtime, View
from trivet.features.judging import ViewJudge, together
from trivet.features.values import Features, Found, Keys, StoredRow, to_microseconds
from trivet.runtime.compile import to_onnx
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.pipeline import Pipeline
from trivet.serving.dataplane import DataPlane
from trivet.serving.loaded import Version
from trivet.serving.log.sender import LogSender
from trivet.settings import Settings

CLASSES = ("Low", "Medium", "High")
NAMES = [f"feature_{number:02}" for number in range(20)]
VIEWS = [f"view_{number}" for number in range(5)]
AT_A_TIME = 8


class Counts:
    """Counts what was logged and lost, and takes the place of a service's metrics."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.written = 0
        self.lost = 0

    def logged(self, rows: int) -> None:
        """Count written rows."""
        self.written += rows

    def unlogged(self, rows: int, reason: str) -> None:
        """Count lost rows."""
        del reason
        self.lost += rows

    def answered(self, *_: object) -> None:
        """Take an answer."""

    def refused(self, *_: object) -> None:
        """Take a refusal."""


def columns_of(view: str, drawn: Sequence[float]) -> tuple[list[Column], list[float]]:
    """Return the columns of one view, and their values."""
    own = [n for n in range(len(NAMES)) if VIEWS[n % len(VIEWS)] == view]
    columns = [Column(name=NAMES[n], source=f"{view}:{NAMES[n]}", dtype="float64") for n in own]
    return columns, [drawn[n] for n in own]


class MemoryReader:
    """Gives every entity the same features, known a minute ago."""

    def __init__(self) -> None:
        """Draw the features: those of one version, view by view."""
        drawn = np.random.default_rng(1).normal(size=len(NAMES)).tolist()
        columns = [columns_of(view, drawn) for view in VIEWS]
        self._values = [tuple(values) for _, values in columns]
        self._judges = [
            ViewJudge(View(name=view, join_keys=("user_id",)), own)
            for view, (own, _) in zip(VIEWS, columns, strict=True)
        ]

    def recall(self, keys: Keys, at: datetime) -> Found:
        """Return n rows of each view, as from a cache."""
        now = to_microseconds(at)
        known = now - 60_000_000
        return [
            [StoredRow(values=values, known=known, read=now) for _ in keys["user_id"]]
            for values in self._values
        ]

    def fetch(self, keys: Keys, at: datetime, *, anew: bool = False) -> Found:
        """Return the same."""
        del anew
        return self.recall(keys, at)

    def judge(self, found: Found, at: datetime) -> Features:
        """Judge as a service does."""
        now = to_microseconds(at)
        return together([judge(rows, now) for judge, rows in zip(self._judges, found, strict=True)])


def forest() -> bytes:
    """Fit and compile a forest of 100 trees."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(3000, len(NAMES))), columns=NAMES)
    labels = random.integers(0, 3, 3000)
    model = make_pipeline(
        StandardScaler(),  # which also joins the columns into the one matrix that a cast takes
        CastTransformer(dtype=np.float32),
        RandomForestClassifier(100, max_depth=10, random_state=0),
    ).fit(frame, labels)
    return to_onnx(model, {name: frame[name].to_numpy() for name in NAMES})


def version(model: bytes, *, from_store: bool) -> Version:
    """Return a version whose columns are all in the request or all from five views."""
    columns = [
        Column(
            name=name,
            source=f"{VIEWS[number % len(VIEWS)]}:{name}" if from_store else "request",
            dtype="float64",
        )
        for number, name in enumerate(NAMES)
    ]
    output = Classification(classes=CLASSES)
    contract = Contract(
        model="benchmark",
        project="benchmark" if from_store else None,
        feature_service="benchmark" if from_store else None,
        join_keys=(JoinKey(name="user_id", dtype="string"),) if from_store else (),
        views=tuple(View(name=name, join_keys=("user_id",)) for name in VIEWS if from_store),
        columns=tuple(columns),
        lead_seconds=0,
        output=output,
        runtime=Runtime(kind="onnx"),
        files={},
        libraries={},
        golden=(),
    )
    pipeline = Pipeline(OnnxPredictor(model, output), output)
    one = Version(1, contract, pipeline, MemoryReader() if from_store else None)
    one.quick_rows = 128  # as its golden rows would show, if it had any
    return one


def body(rows: int, *, from_store: bool) -> bytes:
    """Return a request's body."""
    values = np.random.default_rng(2).normal(size=(rows, len(NAMES)))
    if from_store:
        return orjson.dumps({"instances": [{"user_id": f"u{n:06}"} for n in range(rows)]})
    return orjson.dumps(
        {"instances": [dict(zip(NAMES, row, strict=True)) for row in values.tolist()]}
    )


async def drive(
    plane: DataPlane, one: Version, sent: bytes, seconds: float
) -> tuple[int, list[float]]:
    """Keep eight requests under way for a while; return how many were answered, and how fast."""
    took: list[float] = []
    numbers = itertools.count()
    end = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end:
            started = time.perf_counter()
            await plane.predict_bytes(sent, lambda _: one, f"{next(numbers):032}")
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(client() for _ in range(AT_A_TIME)))
    return len(took), took


@contextmanager
def logging_to(folder: Path | None, counts: Counts) -> Iterator[LogSender | None]:
    """Log to a folder meanwhile, or nowhere."""
    if folder is None:
        yield None
        return
    log = LogSender(Settings(root=folder, home=folder), "benchmark", counts)
    log.start()
    yield log
    log.close()


def measure(
    one: Version, sent: bytes, rows: int, seconds: float, folder: Path | None
) -> dict[str, float]:
    """Measure one round."""
    counts = Counts()
    settings = Settings(root=Path.cwd())
    with logging_to(folder, counts) as log:
        plane = DataPlane(None, settings, system_clock, counts, log)  # type: ignore[arg-type]
        gc.collect()
        gc.freeze()
        began = sum(os.times()[:4])
        answered, took = asyncio.run(drive(plane, one, sent, seconds))
    spent = sum(os.times()[:4]) - began
    if log is not None and counts.written + counts.lost != answered * rows:
        sys.exit(f"{answered * rows} rows predicted, {counts.written} written, {counts.lost} lost")
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {
        "rows_per_second": answered * rows / seconds,
        "p50_ms": 1000 * float(p50),
        "p99_ms": 1000 * float(p99),
        "cpu_us_a_row": 1e6 * spent / (answered * rows),
        "lost": counts.lost,
    }


def compare(one: Version, sent: bytes, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure with and without by turns, and return the medians."""
    found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            for kind, where in (("without", None), ("with", Path(folder))):
                result = measure(one, sent, rows, options.seconds, where)
                if number:  # the first round warms up
                    found[kind].append(result)
    return {
        kind: {name: statistics.median(r[name] for r in results) for name in results[0]}
        for kind, results in found.items()
    }


def main() -> None:
    """Measure every case, and print the table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = forest()
    results = []
    for from_store, rows in itertools.product((False, True), (1, 64)):
        one = version(model, from_store=from_store)
        medians = compare(one, body(rows, from_store=from_store), rows, options)
        columns = "20 from five views" if from_store else "20 in the request"
        results.append({"columns": columns, "rows": rows, **medians})
    if options.json:
        json.dump(results, sys.stdout, indent=2)
        return
    print("| columns | rows a request | rows/s | p50 ms | p99 ms | CPU µs/row | lost |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for result in results:
        before, after = result["without"], result["with"]
        print(  # noqa: T201
            f"| {result['columns']} | {result['rows']} "
            f"| {before['rows_per_second']:,.0f} / {after['rows_per_second']:,.0f} "
            f"({after['rows_per_second'] / before['rows_per_second'] - 1:+.1%}) "
            f"| {before['p50_ms']:.2f} / {after['p50_ms']:.2f} "
            f"| {before['p99_ms']:.2f} / {after['p99_ms']:.2f} "
            f"| {before['cpu_us_a_row']:.1f} / {after['cpu_us_a_row']:.1f} "
            f"| {after['lost']:,.0f} |"
        )


if __name__ == "__main__":
    main()
