"""How long the reader takes for rows of 20 features from four views, beside Feast's own read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.conftest import ENTITIES
from benchmarks.serving.forest import user
from trivet.contract import Contract
from trivet.features.reader import OnlineReader

ROWS = (1, 16, 256)


def questions(rows: int) -> Iterator[dict[str, list[Any]]]:
    """Return keys of other entities each time."""
    drawn = np.random.default_rng(5).integers(0, ENTITIES, size=(200, rows)).tolist()
    for numbers in itertools.cycle(drawn):
        yield {"user_id": [user(n) for n in numbers], "item_id": numbers}


@pytest.mark.parametrize("rows", ROWS)
def test_read(
    benchmark: BenchmarkFixture, store: FeatureStore, contract: Contract, rows: int
) -> None:
    """By Trivet."""
    reader, asked = OnlineReader(store, contract), questions(rows)
    found = benchmark(lambda: reader.read(next(asked), datetime.now(UTC)))
    assert not found.absent
    assert all(len(values) == rows for values in found.values.values())


@pytest.mark.parametrize("rows", ROWS)
def test_read_by_feast(
    benchmark: BenchmarkFixture, store: FeatureStore, contract: Contract, rows: int
) -> None:
    """By `get_online_features`."""
    service, asked = store.get_feature_service(str(contract.feature_service)), questions(rows)
    found = benchmark(lambda: store.get_online_features(service, next(asked)).to_dict())
    assert len(found["feature_000"]) == rows
