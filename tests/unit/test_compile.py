"""A model is compiled only where it then answers the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from skl2onnx.sklapi import CastTransformer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from trivet.columns import Columns
from trivet.contract import Classification, Regression
from trivet.errors import VersionCorrupt
from trivet.runtime.compile import compare_outputs, compile_with_parity
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.predictor import Output

THREE = Classification(classes=("low", "medium", "high"))
EUR = Regression(unit="EUR")


class Fixed:
    """Gives one output, whatever it is asked."""

    def __init__(self, output: Output) -> None:
        """Keep it."""
        self._output = output

    def predict(self, columns: Columns) -> Output:
        """Return it."""
        return self._output


def numbers(rows: int = 60) -> dict[str, np.ndarray]:
    """Return two numeric columns."""
    random = np.random.default_rng(0)
    return {"age": random.normal(40, 10, rows), "income": random.normal(5, 2, rows)}


def mixed(rows: int = 60) -> dict[str, np.ndarray]:
    """Return numbers with NaN, and strings with None."""
    columns = numbers(rows)
    columns["age"][::5] = np.nan
    segments = np.array(["gold", "silver", None] * (rows // 3), dtype=object)
    return {**columns, "segment": segments}


def outputs(estimator: Any, columns: Columns) -> Output:
    """Return the estimator's own answers."""
    frame = pd.DataFrame(dict(columns))
    if not hasattr(estimator, "classes_"):
        return {"value": estimator.predict(frame)}
    return {"label": estimator.predict(frame), "probabilities": estimator.predict_proba(frame)}


def classes(columns: Columns) -> np.ndarray:
    """Return three classes that the columns tell apart."""
    return np.digitize(columns["income"], [4, 6])


def test_a_logistic_regression_answers_the_same() -> None:
    """With the evidence beside the graph."""
    columns = numbers()
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    estimator.fit(pd.DataFrame(columns), classes(columns))
    stacked = ColumnTransformer([("all", "passthrough", list(columns))])
    estimator = make_pipeline(stacked, StandardScaler(), LogisticRegression())
    estimator.fit(pd.DataFrame(columns), classes(columns))
    compiled = compile_with_parity(estimator, columns, outputs(estimator, columns), THREE)
    assert compiled.reason is None
    assert compiled.parity is not None
    assert (compiled.parity.rows, compiled.parity.label_mismatches) == (60, 0)
    assert compiled.parity.max_difference <= compiled.parity.tolerance
    assert compiled.model is not None
    found = OnnxPredictor(compiled.model, THREE).predict(numbers(1))
    assert found["label"].shape == (1,)
    assert found["label"].dtype == np.int64
    assert found["probabilities"].shape == (1, 3)
    assert found["probabilities"].dtype == np.float64


def test_gradient_boosting_answers_the_same_on_nan_and_strings() -> None:
    """No label is lost at a threshold, and an absent string is no category."""
    columns = mixed()
    encoded = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    estimator = make_pipeline(
        ColumnTransformer([("s", encoded, ["segment"]), ("n", "passthrough", ["age", "income"])]),
        CastTransformer(),
        HistGradientBoostingClassifier(max_iter=5, random_state=0),
    )
    frame = pd.DataFrame({**columns, "segment": pd.Series(columns["segment"]).fillna("")})
    estimator.fit(frame, classes(columns))
    expected = outputs(estimator, {name: frame[name].to_numpy() for name in frame})
    compiled = compile_with_parity(estimator, columns, expected, THREE)
    assert compiled.reason is None
    assert compiled.model is not None


def test_a_regression_answers_the_same() -> None:
    """Relative to its size."""
    columns = numbers()
    stacked = ColumnTransformer([("all", "passthrough", list(columns))])
    estimator = make_pipeline(stacked, LinearRegression())
    estimator.fit(pd.DataFrame(columns), columns["income"] * 1e6)
    compiled = compile_with_parity(estimator, columns, outputs(estimator, columns), EUR)
    assert compiled.reason is None
    assert compiled.model is not None
    assert OnnxPredictor(compiled.model, EUR).predict(columns)["value"].shape == (60,)


def test_a_mismatch_is_recorded_and_nothing_is_served_from_it() -> None:
    """Labels and numbers are both counted."""
    columns = numbers()
    stacked = ColumnTransformer([("all", "passthrough", list(columns))])
    estimator = make_pipeline(stacked, LogisticRegression())
    estimator.fit(pd.DataFrame(columns), classes(columns))
    expected = dict(outputs(estimator, columns))
    expected["label"] = np.where(np.arange(60) < 2, (expected["label"] + 1) % 3, expected["label"])
    expected["probabilities"] = expected["probabilities"] + 0.001
    compiled = compile_with_parity(estimator, columns, expected, THREE)
    assert compiled.model is None
    assert compiled.reason == "2 labels differ, numbers by up to 1.0e-03"
    assert compiled.parity is not None
    assert compiled.parity.label_mismatches == 2


def test_a_model_without_a_converter_is_recorded_with_the_reason() -> None:
    """It is served by its own flavor."""
    estimator = make_pipeline(FunctionTransformer(np.sin), LinearRegression())
    columns = numbers()
    estimator.fit(pd.DataFrame(columns), columns["age"])
    compiled = compile_with_parity(estimator, columns, outputs(estimator, columns), EUR)
    assert (compiled.model, compiled.parity) == (None, None)
    assert compiled.reason


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([np.inf], [np.inf], 0.0),
        ([2_000_000.0], [2_000_002.0], 1e-6),
        ([0.5], [0.25], 0.25),
        ([], [], 0.0),
    ],
)
def test_numbers_are_compared_where_both_have_one(
    found: list[float], expected: list[float], difference: float
) -> None:
    """Relative to their size above one, as they are below."""
    parity = compare_outputs(Fixed({"value": np.array(found)}), {}, {"value": np.array(expected)})
    assert parity.max_difference == pytest.approx(difference, rel=1e-3)
    assert parity.label_mismatches == 0


@pytest.mark.parametrize("found", [[np.nan, 1.0], [np.inf, 1.0], [1.0], [[1.0], [1.0]]])
def test_what_cannot_be_compared_is_never_equal(found: list[Any]) -> None:
    """NaN is neither more nor less than a tolerance, and must not pass for it."""
    with pytest.raises(ValueError, match=r"one side only|has shape"):
        compare_outputs(Fixed({"value": np.array(found)}), {}, {"value": np.array([1.0, 1.0])})


def test_a_file_that_is_no_graph_is_refused() -> None:
    """Before it is served."""
    with pytest.raises(VersionCorrupt, match="ONNX Runtime refuses the model"):
        OnnxPredictor(b"not a graph", EUR)
