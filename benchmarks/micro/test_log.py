"""How long the prediction log takes to turn requests into Arrow batches."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.serving.forest import CLASSES, user
from trivet.contract import Contract
from trivet.features.values import Features, to_microseconds
from trivet.serving.asking import Asked
from trivet.serving.log.entry import Answered, Entry
from trivet.serving.log.rows import Rows

WAITING = 1024
"""Rows that wait to be written."""
SHARE = 1 / len(CLASSES)
PREDICTION = {
    "class_id": 1,
    "class_name": CLASSES[1],
    "confidence": SHARE,
    "probabilities": dict.fromkeys(CLASSES, SHARE),
}


def entry(contract: Contract, digest: str, rows: int) -> Entry:
    """Return an answered request of so many rows, all of whose columns are features."""
    now = datetime.now(UTC)
    moments = {view.name: [to_microseconds(now)] * rows for view in contract.views}
    drawn = np.random.default_rng(6).normal(size=(len(contract.columns), rows))
    values = {c.name: drawn[n].tolist() for n, c in enumerate(contract.columns)}
    return Entry(
        requests=[
            Answered(
                request_id="0" * 32,
                route="champion",
                rows=rows,
                validate_seconds=1e-4,
                features_seconds=1e-3,
                total_seconds=2e-3,
            )
        ],
        asked_at=now,
        contract=contract,
        digest=digest,
        version=1,
        asked=Asked(
            rows=rows,
            keys={"user_id": [user(n) for n in range(rows)], "item_id": list(range(rows))},
            sent=[()] * rows,
            names=(),
        ),
        features=Features(values=values, absent=(), known=moments, read=moments),
        absent=(),
        columns={name: np.array(column) for name, column in values.items()},
        predictions=[PREDICTION] * rows,
        seconds={"predict": 1e-4},
    )


@pytest.mark.parametrize("rows", [1, 64])
def test_batch(benchmark: BenchmarkFixture, contract: Contract, rows: int) -> None:
    """The rows that wait, in requests of one and of 64 rows."""
    digest = contract.digest
    into, entries = Rows(contract, digest), [entry(contract, digest, rows)] * (WAITING // rows)
    assert benchmark(lambda: into.batch(entries)).num_rows == WAITING
