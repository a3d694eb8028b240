"""The process in which versions are tried: `python -m trivet.gates.bench_process`, asked in JSON."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trivet.columns import Columns
from trivet.contract import Contract
from trivet.errors import TrivetError
from trivet.gates.bench import Asked, Timed, Tried
from trivet.runtime.pipeline import Pipeline, golden_columns, verify_golden_rows
from trivet.serving.loaded import load_pipeline

_WARM_UP_SECONDS = 0.3
_WARM_UPS = 20
_MOST_CALLS = 5_000


def main() -> None:
    """Try what standard input asks for; the answer alone goes to standard output."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a version's own code may print
    asked = Asked.model_validate_json(sys.stdin.read())
    try:
        tried = _try(asked)
    except TrivetError as err:
        tried = Tried(fault=err.sentence)
    answer.write(tried.model_dump_json())
    answer.close()


def _try(asked: Asked) -> Tried:
    started = time.perf_counter()
    contract, pipeline = load_pipeline(asked.version, asked.folder)
    load_seconds = time.perf_counter() - started
    verify_golden_rows(pipeline, contract)
    scores = {}
    if asked.held_out is not None:
        # scikit-learn takes seconds to import, and only scores need it.
        from trivet.gates.scores import score_held_out

        scores = score_held_out(contract, pipeline, asked.held_out)
    return Tried(
        load_seconds=round(load_seconds, 3),
        latency={
            rows: _timed(contract, pipeline, rows, asked.latency_seconds)
            for rows in asked.latency_rows
        },
        scores=scores,
    )


def _timed(contract: Contract, pipeline: Pipeline, rows: int, seconds: float) -> Timed:
    samples = _samples(contract, rows)
    _run(pipeline, samples, min(_WARM_UP_SECONDS, seconds), _WARM_UPS)
    # As a worker does: a collection of what the imports have left would count as the model's time.
    gc.collect()
    gc.freeze()
    took = 1000 * np.array(_run(pipeline, samples, seconds, _MOST_CALLS))
    p50, p99 = np.percentile(took, [50, 99])
    return Timed(p50_ms=round(float(p50), 4), p99_ms=round(float(p99), 4), calls=len(took))


def _run(pipeline: Pipeline, samples: Sequence[Columns], seconds: float, most: int) -> list[float]:
    """Predict again and again, at least once; return the seconds of each call."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < most and (not took or time.perf_counter() < end):
        started = time.perf_counter()
        pipeline.run(samples[len(took) % len(samples)])
        took.append(time.perf_counter() - started)
    return took


def _samples(contract: Contract, rows: int) -> list[dict[str, npt.NDArray[Any]]]:
    """Return columns of so many rows, each beginning with another golden row."""
    columns = golden_columns(contract)
    return [
        {name: np.resize(np.roll(values, -first), rows) for name, values in columns.items()}
        for first in range(len(contract.golden))
    ]


if __name__ == "__main__":
    main()
