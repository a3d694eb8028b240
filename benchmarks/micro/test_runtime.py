"""How long the predictor takes for the forest of 100 trees, beside scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.serving.forest import CLASSES, Rows, names
from trivet import Classification
from trivet.runtime.compile import to_onnx
from trivet.runtime.onnx import OnnxPredictor

ROWS = (1, 32, 1000)


@pytest.mark.parametrize("rows", ROWS)
def test_predict(benchmark: BenchmarkFixture, forest: tuple[Any, Rows], rows: int) -> None:
    """By ONNX Runtime, as a service does."""
    model, values = forest
    columns = {name: values[:rows, number] for number, name in enumerate(names())}
    compiled = to_onnx(model, columns)
    predictor = OnnxPredictor(compiled, Classification(classes=CLASSES))
    found = benchmark(lambda: predictor.predict(columns))
    expected = model.predict(pd.DataFrame(columns))
    assert np.array_equal(found["label"], expected)


@pytest.mark.parametrize("rows", ROWS)
def test_predict_by_scikit_learn(
    benchmark: BenchmarkFixture, forest: tuple[Any, Rows], rows: int
) -> None:
    """By the estimator itself."""
    model, values = forest
    frame = pd.DataFrame(values[:rows], columns=names())
    assert benchmark(lambda: model.predict_proba(frame)).shape == (rows, len(CLASSES))
