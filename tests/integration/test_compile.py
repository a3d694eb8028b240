"""A model is compiled only where it then answers the same, on rows made to find differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from integration.models import COLUMNS, EUR, KINDS, ROWS, THREE, TWO, fit, fitted, held_out, prove
from trivet.columns import Columns
from trivet.contract import Column
from trivet.errors import VersionCorrupt
from trivet.runtime import parity as parity_module
from trivet.runtime.compile import compile_with_parity
from trivet.runtime.convert import to_onnx
from trivet.runtime.estimator import EstimatorPredictor
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.parity import Proof, compare_outputs, gather_proof
from trivet.runtime.predictor import Output


class Fixed:
    """Gives one output, whatever it is asked."""

    def __init__(self, output: Output) -> None:
        """Keep it."""
        self._output = output

    def predict(self, columns: Columns) -> Output:
        """Return it."""
        return self._output


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small batches gain nothing by threads, and lose where other tests run beside."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw fewer rows than a real proof does."""
    monkeypatch.setattr(parity_module, "ENOUGH_ROWS", 2000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("fewer_rows")
def test_the_graph_answers_as_the_model_does(kind: str) -> None:
    """Mixed numbers and texts, nulls, unseen categories, and values at the trees' thresholds."""
    estimator, output = fitted(kind)
    compiled = compile_with_parity(estimator, prove(estimator, output), output)
    assert compiled.reason is None
    assert compiled.model is not None
    found = compiled.parity
    assert found is not None
    assert found.label_mismatches == 0
    assert found.max_difference <= found.tolerance
    assert {"null", "extreme", "unseen"} <= set(found.adversarial_rows)
    last = estimator.steps[-1][1]
    linear = isinstance(last, (LogisticRegression,)) or kind == "ridge"
    assert ("threshold" in found.adversarial_rows) == (not linear)


def test_fewer_held_out_rows_are_made_up_to_ten_thousand() -> None:
    """All are counted by kind, those that the model itself refuses as well."""
    estimator, output = fitted("imputer and forest")
    parity = compare_outputs(
        EstimatorPredictor(estimator, output), proof := prove(estimator, output)
    )
    assert (parity.held_out_rows, parity.drawn_rows) == (ROWS, 10_000 - ROWS)
    assert parity.rows == 10_000 + sum(parity.adversarial_rows.values())
    assert parity.rows == len(proof.expected["label"])
    assert set(parity.refused_rows) == {"infinite", "extreme"}
    assert "infinite" not in parity.adversarial_rows
    assert parity.adversarial_rows["threshold"] > 1000


def test_nulls_stand_only_where_the_policy_lets_them_through() -> None:
    """A forest would take a NaN anywhere, but no request can bring one."""
    seen: list[Columns] = []

    class Watching(EstimatorPredictor):
        def predict(self, columns: Columns) -> Output:
            seen.append(columns)
            return super().predict(columns)

    estimator, output = fitted("forest that takes nulls")
    gather_proof(estimator, Watching(estimator, output), COLUMNS, held_out(), lambda rows: rows)
    for column in COLUMNS:
        nulls = sum(int(pd.isna(rows[column.name]).sum()) for rows in seen)
        assert (nulls > 0) == (column.absent == "null"), column.name


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("histogram boosting, three classes", "single"),
        ("LightGBM, three classes", "single"),
        ("imputer and forest", "double"),
        ("XGBoost, three classes", "double"),
    ],
)
@pytest.mark.usefixtures("fewer_rows")
def test_the_wrong_precision_is_found_out_at_the_thresholds(kind: str, wrong: Any) -> None:
    """Which is what these rows are made for: random values are seldom so near."""
    estimator, output = fitted(kind)
    proof = prove(estimator, output)
    graph = OnnxPredictor(to_onnx(estimator, proof.rows, precision=wrong), output)
    differ = np.abs(graph.predict(proof.rows)["probabilities"] - proof.expected["probabilities"])
    at_thresholds = differ[-proof.adversarial["threshold"] :].max(axis=1)
    assert (at_thresholds > parity_module.TOLERANCE).sum() > 20


def test_a_null_is_neither_the_empty_string_nor_a_category_of_that_name() -> None:
    """ONNX has no null string, and a null may be a category of its own."""
    rows = {"segment": np.array(["gold", "None", "", None] * 20, dtype=object)}
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    truth = np.array([0, 0, 1, 2] * 20)
    chosen = ColumnTransformer([("texts", encoder, ["segment"])])
    estimator = fit(make_pipeline(chosen, LogisticRegression(C=1e3)), rows, truth)
    graph = OnnxPredictor(to_onnx(estimator, rows), THREE)
    assert graph.predict(rows)["label"].tolist() == truth.tolist()
    assert graph.predict({"segment": np.array([None, "", "?"], dtype=object)})["label"][0] == 2


def test_values_that_only_resemble_a_category_keep_a_model_from_being_compiled() -> None:
    """The encoder's converter takes 2.5 for 2; held-out rows have whole values alone."""
    column = Column(name="grade", source="request", dtype="float64")
    rows = {"grade": np.arange(60.0) % 3}
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    estimator = fit(make_pipeline(encoder, LogisticRegression()), rows, np.arange(60) % 3)
    model = EstimatorPredictor(estimator, THREE)
    alone = Proof(rows=rows, expected=model.predict(rows))
    assert compile_with_parity(estimator, alone, THREE).reason is None
    proof = gather_proof(estimator, model, [column], rows, lambda columns: columns)
    compiled = compile_with_parity(estimator, proof, THREE)
    assert compiled.model is None
    assert compiled.reason is not None


def test_a_mismatch_is_recorded_and_nothing_is_served_from_it() -> None:
    """Labels and numbers are both counted."""
    estimator, output = fitted("logistic regression, three classes")
    rows = held_out()
    expected = dict(EstimatorPredictor(estimator, output).predict(rows))
    first = np.arange(ROWS) < 2
    expected["label"] = np.where(first, (expected["label"] + 1) % 3, expected["label"])
    expected["probabilities"] = expected["probabilities"] + 0.001
    compiled = compile_with_parity(estimator, Proof(rows=rows, expected=expected), output)
    assert compiled.model is None
    assert compiled.reason == "2 labels differ, numbers by up to 1.0e-03"
    assert compiled.parity is not None
    assert compiled.parity.label_mismatches == 2


@pytest.mark.parametrize("step", [FunctionTransformer(np.sin), FunctionTransformer(abs)])
def test_a_model_without_a_converter_is_recorded_with_the_reason(step: Any) -> None:
    """It is served by its own flavor."""
    rows = {"age": np.arange(60.0)}
    estimator = fit(make_pipeline(step, LinearRegression()), rows, rows["age"])
    proof = Proof(rows=rows, expected=EstimatorPredictor(estimator, EUR).predict(rows))
    compiled = compile_with_parity(estimator, proof, EUR)
    assert (compiled.model, compiled.parity) == (None, None)
    assert compiled.reason


def test_a_moment_is_no_input_of_a_graph() -> None:
    """The reason says what to do."""
    rows = {"at": np.array(["2026-01-01"], dtype="datetime64[us]")}
    with pytest.raises(TypeError, match="at is datetime64"):
        to_onnx(make_pipeline(LinearRegression()), rows)


@pytest.mark.parametrize("matrices", [True, False])
def test_graphs_of_both_layouts_are_served(matrices: bool) -> None:
    """Versions registered earlier have one input a column, and nothing is said of null strings."""
    rows = {name: values for name, values in held_out().items() if name != "segment"}
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    chosen = ColumnTransformer([("city", encoder, ["city"])], remainder="passthrough")
    estimator = fit(make_pipeline(chosen, RandomForestClassifier(5, random_state=0)), rows, _two())
    graph = onnx.load_from_string(to_onnx(estimator, rows, matrices=matrices))
    if not matrices:
        del graph.metadata_props[:]
    served = OnnxPredictor(graph.SerializeToString(), TWO)
    expected = EstimatorPredictor(estimator, TWO).predict(rows)
    found = served.predict(rows)
    assert served.takes_matrices == matrices
    assert found["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)


def _two() -> np.ndarray:
    return (held_out()["income"] > 5).astype(int)


def test_a_matrix_is_predicted_as_its_columns_are() -> None:
    """Its order is said by the predictor; labels are int64, probabilities float64."""
    estimator, output = fitted("histogram boosting, three classes")
    rows = held_out()
    served = OnnxPredictor(to_onnx(estimator, rows), output)
    assert served.numbers == ("age", "income", "visits", "orders")
    assert served.texts == ("segment", "city")
    numbers = np.column_stack([rows[name] for name in served.numbers])
    texts = np.column_stack([rows[name] for name in served.texts])
    found = served.predict_matrix(numbers, texts)
    assert found["label"].dtype == np.int64
    assert found["probabilities"].dtype == np.float64
    assert found["probabilities"].shape == (ROWS, 3)
    np.testing.assert_array_equal(found["probabilities"], served.predict(rows)["probabilities"])


def test_a_pipeline_of_numbers_alone_needs_no_choice_of_columns() -> None:
    """A scaler takes the frame as it is."""
    rows = {name: held_out()[name] for name in ("orders", "income")}
    estimator = fit(make_pipeline(StandardScaler(), LogisticRegression()), rows, _two())
    served = OnnxPredictor(to_onnx(estimator, rows), TWO)
    expected = EstimatorPredictor(estimator, TWO).predict(rows)["probabilities"]
    np.testing.assert_allclose(served.predict(rows)["probabilities"], expected, atol=1e-12)


NUMBER = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1e-40, 3e38])
ROW = st.tuples(
    st.none() | NUMBER,
    st.none() | st.sampled_from(["gold", "silver", ""]) | st.text(st.characters(codec="utf-8")),
    NUMBER,
    st.none() | st.integers(-(10**6), 10**6),
    st.sampled_from(["Rome", "Oslo", "None"]) | st.text(st.characters(codec="utf-8")),
    st.integers(-(2**53), 2**53),
)
GRAPHS: dict[str, OnnxPredictor] = {}


@pytest.mark.parametrize(
    "kind",
    [
        "histogram boosting, three classes",
        "forest that takes nulls",
        "LightGBM, three classes",
        "XGBoost, two classes",
    ],
)
@given(rows=st.lists(ROW, min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_random_rows_are_answered_the_same(kind: str, rows: list[tuple[Any, ...]]) -> None:
    """Whatever a request may bring, nulls included."""
    estimator, output = fitted(kind)
    if kind not in GRAPHS:
        GRAPHS[kind] = OnnxPredictor(to_onnx(estimator, held_out()), output)
    parts = dict(zip((column.name for column in COLUMNS), zip(*rows, strict=True), strict=True))
    columns = {
        name: np.array(values, dtype=values_of.dtype)
        for (name, values), values_of in zip(parts.items(), held_out().values(), strict=True)
    }
    found = GRAPHS[kind].predict(columns)
    expected = EstimatorPredictor(estimator, output).predict(columns)
    assert found["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)


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
    proof = Proof(rows={}, expected={"value": np.array(expected)})
    parity = compare_outputs(Fixed({"value": np.array(found)}), proof)
    assert parity.max_difference == pytest.approx(difference, rel=1e-3)
    assert parity.label_mismatches == 0


@pytest.mark.parametrize("found", [[np.nan, 1.0], [np.inf, 1.0], [1.0], [[1.0], [1.0]]])
def test_what_cannot_be_compared_is_never_equal(found: list[Any]) -> None:
    """NaN is neither more nor less than a tolerance, and must not pass for it."""
    proof = Proof(rows={}, expected={"value": np.array([1.0, 1.0])})
    with pytest.raises(ValueError, match=r"one side only|has shape"):
        compare_outputs(Fixed({"value": np.array(found)}), proof)


def test_a_file_that_is_no_graph_is_refused() -> None:
    """Before it is served."""
    with pytest.raises(VersionCorrupt, match="ONNX Runtime refuses the model"):
        OnnxPredictor(b"not a graph", EUR)
