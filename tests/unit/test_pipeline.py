"""Preprocess, predict and postprocess of one version, each named when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivet.columns import Columns
from trivet.contract import Classification, Regression
from trivet.errors import PredictionFailed, VersionCorrupt
from trivet.runtime.pipeline import (
    POSTPROCESS,
    PREPROCESS,
    Pipeline,
    golden_columns,
    golden_row,
    name_output,
    verify_golden_rows,
)
from unit.fakes import AmountPredictor, golden, shop

EUR = Regression(unit="EUR")
TWO: Columns = {"amount": np.array([1.0, 2.0])}


def fail(_: object) -> Any:
    """Stand for a step that is broken."""
    raise ZeroDivisionError("by zero")


def test_a_pipeline_without_code_names_the_output() -> None:
    """A version may bring neither preprocess nor postprocess."""
    predicted = Pipeline(AmountPredictor(), EUR).run(TWO)
    assert predicted.predictions == [{"value": 1.0}, {"value": 2.0}]
    assert list(predicted.seconds) == ["preprocess", "predict", "postprocess"]


def test_the_steps_run_one_after_the_other() -> None:
    """Each takes what the one before gave."""
    pipeline = Pipeline(
        AmountPredictor(),
        EUR,
        preprocess=lambda columns: {"amount": columns["amount"] * 10},
        postprocess=lambda raw: {"cents": raw["value"].astype(int)},
    )
    assert pipeline.run(TWO).predictions == [{"cents": 10}, {"cents": 20}]
    assert pipeline.prepare(TWO)["amount"].tolist() == [10.0, 20.0]


@pytest.mark.parametrize("step", ["preprocess", "predict", "postprocess"])
def test_a_step_that_fails_is_named(step: str) -> None:
    """With its own error."""
    code = {} if step == "predict" else {step: fail}
    predictor = AmountPredictor(ZeroDivisionError("by zero") if step == "predict" else None)
    with pytest.raises(PredictionFailed) as caught:
        Pipeline(predictor, EUR, **code).run(TWO)
    assert caught.value.step == step
    assert caught.value.sentence == f"{step} failed: ZeroDivisionError: by zero"


@pytest.mark.parametrize(
    ("postprocess", "says"),
    [
        (lambda raw: {"value": raw["value"][:1]}, "2 rows went in, 1 came out"),
        (lambda _: {}, "2 rows went in, 0 came out"),
        (lambda raw: {"a": raw["value"], "b": raw["value"][:1]}, "ValueError"),
        (lambda _: {"value": [1, 2]}, "AttributeError"),
    ],
    ids=["too few", "none", "unequal", "no array"],
)
def test_another_number_of_rows_is_an_error(postprocess: Any, says: str) -> None:
    """An answer must never go to another row's caller."""
    with pytest.raises(PredictionFailed, match=f"postprocess failed: .*{says}"):
        Pipeline(AmountPredictor(), EUR, postprocess=postprocess).run(TWO)


def test_a_classification_is_named_by_its_classes() -> None:
    """With a probability for each."""
    raw = {"label": np.array([1]), "probabilities": np.array([[0.25, 0.75]])}
    named = name_output(raw, Classification(classes=("on time", "late")))
    pipeline = Pipeline(AmountPredictor(), EUR, postprocess=lambda _: named)
    assert pipeline.run({"amount": np.array([1.0])}).predictions == [
        {
            "class_id": 1,
            "class_name": "late",
            "confidence": 0.75,
            "probabilities": {"on time": 0.25, "late": 0.75},
        }
    ]


def test_answers_are_what_json_has() -> None:
    """NaN becomes null, a time a string, numpy's numbers Python's."""

    def postprocess(_: object) -> Any:
        return {
            "number": np.array([np.nan, 1.0]),
            "when": np.array(["NaT", "2026-11-22T08:30"], dtype="datetime64[us]"),
            "count": np.array([1, 2]),
            "name": np.array(["a", None], dtype=object),
        }

    first, second = Pipeline(AmountPredictor(), EUR, postprocess=postprocess).run(TWO).predictions
    assert first == {"number": None, "when": None, "count": 1, "name": "a"}
    assert second == {"number": 1.0, "when": "2026-11-22T08:30:00Z", "count": 2, "name": None}
    assert type(second["count"]) is int


def test_a_versions_folder_brings_its_code(tmp_path: Path) -> None:
    """Both, one, or neither of the two files."""
    assert Pipeline.load(tmp_path, AmountPredictor(), EUR).run(TWO).predictions[0] == {"value": 1.0}
    (tmp_path / "trivet").mkdir()
    (tmp_path / POSTPROCESS).write_text("def postprocess(raw): return {'cents': raw['value']}\n")
    assert Pipeline.load(tmp_path, AmountPredictor(), EUR).run(TWO).predictions[0] == {"cents": 1.0}
    code = "def preprocess(columns): return {'amount': columns['amount'] + 1}\n"
    (tmp_path / PREPROCESS).write_text(code)
    assert Pipeline.load(tmp_path, AmountPredictor(), EUR).run(TWO).predictions[0] == {"cents": 2.0}


def test_golden_rows_that_are_answered_as_stored_pass() -> None:
    """Another machine may round differently, and no golden row is no fault."""
    pipeline = Pipeline(AmountPredictor(), EUR)
    verify_golden_rows(pipeline, shop())
    verify_golden_rows(pipeline, shop(golden=(golden(), golden(prediction={"value": 20.0001}))))


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"value": 20.001}, "row 1 gives another value: 20.0 for 20.001"),
        ({"price": 20.0}, r"another set of fields: \['value'\] where \['price'\] was stored"),
        ({"value": None}, "another value: 20.0 for None"),
        ({"value": "high"}, "another value: 20.0 for 'high'"),
        ({"value": {"EUR": 20.0}}, "another value"),
    ],
)
def test_a_golden_row_that_is_answered_otherwise_is_named(
    stored: dict[str, Any], says: str
) -> None:
    """A version that does not do what its contract says is never served."""
    contract = shop(golden=(golden(), golden(prediction=stored)))
    with pytest.raises(VersionCorrupt, match=says):
        verify_golden_rows(Pipeline(AmountPredictor(), EUR), contract)


def test_golden_rows_become_the_columns_that_serving_has() -> None:
    """Times as moments, nulls as the policy has them."""
    features = {**golden().features, "age": None, "when": None}
    columns = golden_columns(shop(golden=(golden(), golden(features=features))))
    assert columns["income"].dtype == np.int64
    assert np.isnan(columns["age"]).tolist() == [False, True]
    assert columns["when"].astype(str).tolist() == ["2026-11-22T13:00:00.000000", "NaT"]


def test_a_golden_row_is_made_of_numpys_values() -> None:
    """Nested as deep as a prediction is."""
    row = golden_row(
        asked_at=golden().asked_at,
        request={"user_id": np.str_("u001")},
        features={"age": np.float64("nan")},
        prediction={"class_id": np.int64(1), "probabilities": {"late": np.float64(0.5)}},
    )
    assert row.features == {"age": None}
    assert row.prediction == {"class_id": 1, "probabilities": {"late": 0.5}}
