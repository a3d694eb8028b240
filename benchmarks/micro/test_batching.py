"""What a crowd costs: requests of one row by key, sent at the same moment or one after the other.

The whole data plane in process, without HTTP: validation, features, the forest in ONNX Runtime,
answers. The time is that of all requests of a round.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.conftest import ENTITIES
from benchmarks.serving.forest import Rows, names, user
from trivet.clock import system_clock
from trivet.contract import Contract
from trivet.features.cache import RowCache
from trivet.features.reader import OnlineReader
from trivet.runtime.compile import to_onnx
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.pipeline import Pipeline
from trivet.serving.dataplane import Answer, DataPlane
from trivet.serving.loaded import Version
from unit import fakes

CALLERS = (1, 8, 64)
HOW = ("together", "one by one")
WARM_SECONDS = 3600.0
TOGETHER = 500
"""Requests at once while the cache is filled: fewer than `TRIVET_MOST_IN_FLIGHT`."""

Made = Callable[[float], DataPlane]
"""Makes a data plane whose cache holds rows for so many seconds."""


@pytest.fixture(scope="module")
def compiled(forest: tuple[Any, Rows]) -> bytes:
    """Return the forest as an ONNX graph."""
    model, values = forest
    return to_onnx(model, {name: values[:1, number] for number, name in enumerate(names())})


@pytest.fixture
def made(tmp_path: Path, store: FeatureStore, contract: Contract, compiled: bytes) -> Made:
    """Return what makes a data plane that answers with the forest by key."""

    def make(cache_seconds: float) -> DataPlane:
        reader = OnlineReader(store, contract, 30.0, RowCache(cache_seconds, 4 * ENTITIES))
        pipeline = Pipeline(OnnxPredictor(compiled, contract.output), contract.output)
        version = Version(1, contract, pipeline, reader)
        settings = fakes.settings(tmp_path, feature_timeout_seconds=30.0)
        version.quick_rows = settings.batch_rows
        slot = fakes.filled_slot(tmp_path, version)
        return DataPlane(slot, settings, system_clock, fakes.FakeRecorder())

    return make


def bodies(callers: int) -> Iterator[list[dict[str, Any]]]:
    """Return one row for each caller, of other entities each time."""
    drawn = np.random.default_rng(6).integers(0, ENTITIES, size=(200, callers)).tolist()
    for numbers in itertools.cycle(drawn):
        yield [{"user_id": user(n), "item_id": n} for n in numbers]


async def ask(plane: DataPlane, rows: list[dict[str, Any]], how: str) -> list[Answer]:
    """Send each row as a request of its own."""
    asked = [plane.predict([row], lambda slot: slot.champion(), "id") for row in rows]
    if how == "together":
        return list(await asyncio.gather(*asked))
    return [await one for one in asked]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("callers", CALLERS)
@pytest.mark.parametrize("cache", ["warm", "off"])
def test_answer(
    benchmark: BenchmarkFixture, made: Made, cache: str, callers: int, how: str
) -> None:
    """By Trivet's data plane."""
    asked, answering = bodies(callers), made(WARM_SECONDS if cache == "warm" else 0.0)
    with asyncio.Runner() as runner:
        if cache == "warm":
            everybody = [{"user_id": user(n), "item_id": n} for n in range(ENTITIES)]
            for start in range(0, ENTITIES, TOGETHER):
                runner.run(ask(answering, everybody[start : start + TOGETHER], "together"))
        found = benchmark(lambda: runner.run(ask(answering, next(asked), how)))
    assert len(found) == callers
    assert all(not answer.document["missing"] for answer in found)
