"""A version is tried in a process of its own: its golden rows, its latency, its scores."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from integration import models
from trivet.contract import Contract, Parity, Regression, Runtime
from trivet.errors import BadSetting, VersionCorrupt
from trivet.gates import bench, bench_process, golden, latency
from trivet.gates.bench import Asked, Bench
from trivet.gates.policy import Latency
from trivet.gates.scores import score_held_out
from trivet.live import CONTRACT
from trivet.runtime.compile import compile_with_parity
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.pipeline import Pipeline, golden_row
from trivet.serving.loaded import load_pipeline
from trivet.training.held_out import MOST_ROWS, keep_held_out
from unit.fakes import NOON
from unit.gates.proposals import FakeProposal


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TRIVET_", "MLFLOW_")):
            monkeypatch.delenv(name)


def stored_version(folder: Path, kind: str = "logistic regression, three classes") -> Contract:
    """Write a small compiled version with golden rows, as it lies on a host; return its contract."""
    estimator, output = models.fitted(kind)
    compiled = compile_with_parity(estimator, models.prove(estimator, output), output)
    assert compiled.model is not None
    rows = {name: values[:3] for name, values in models.held_out().items()}
    pipeline = Pipeline(OnnxPredictor(compiled.model, output), output)
    predictions = pipeline.run(rows).predictions
    contract = Contract(
        model="shop",
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=models.COLUMNS,
        lead_seconds=0,
        output=output,
        runtime=Runtime(kind="onnx", parity=Parity.model_validate(compiled.parity)),
        files={},
        libraries={},
        golden=tuple(
            golden_row(
                asked_at=NOON,
                request={},
                features={name: values[n] for name, values in rows.items()},
                prediction=prediction,
            )
            for n, prediction in enumerate(predictions)
        ),
    )
    (folder / "trivet").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(compiled.model)
    (folder / CONTRACT).write_text(contract.to_json())
    return contract


def frame() -> pd.DataFrame:
    """Return the held-out rows of the small models."""
    return pd.DataFrame(models.held_out())


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contract]:
    """Return a small compiled version on disk, and its contract."""
    folder = tmp_path_factory.mktemp("version") / "2"
    return folder, stored_version(folder)


def proposal(version: tuple[Path, Contract], home: Path) -> FakeProposal:
    """Return a proposal of the version."""
    folder, contract = version
    return FakeProposal(home=home, folder=folder, contract=contract)


def damaged(version: tuple[Path, Contract], home: Path, before: str, after: str) -> FakeProposal:
    """Return a proposal of the version with its contract edited."""
    folder, _ = version
    other = home / "other"
    (other / "trivet").mkdir(parents=True)
    (other / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    text = (folder / CONTRACT).read_text()
    assert before in text
    (other / CONTRACT).write_text(text.replace(before, after, 1))
    return FakeProposal(home=home, folder=other)


def test_golden_rows_pass_in_a_process_of_their_own(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """And are not tried again for the same contract."""
    bench = Bench()
    verdict = golden.judge(bench, proposal(version, tmp_path))
    assert verdict.passed
    assert verdict.sentences == ("3 golden rows come out as stored, by onnx.",)
    gone = replace(proposal(version, tmp_path), folder=tmp_path / "gone")
    assert golden.judge(bench, gone).passed


def test_a_golden_row_that_comes_out_otherwise_is_named(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """Nobody can force such a version."""
    name = json.loads((version[0] / CONTRACT).read_text())["golden"][0]["prediction"]["class_name"]
    other = damaged(version, tmp_path, f'"class_name": "{name}"', '"class_name": "odd"')
    with pytest.raises(VersionCorrupt, match="golden row 0 gives another class_name"):
        golden.judge(Bench(), other)


def test_a_version_that_ends_its_process_takes_nobody_with_it(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """Its own code may do anything; what it prints is not taken for the answer."""
    _, contract = version
    other = damaged(version, tmp_path, '"schema_version": 1', '"schema_version": 1')
    code = other.folder / "trivet" / "preprocess.py"
    code.write_text("print('{}')\ndef preprocess(columns):\n    return columns\n")
    assert golden.judge(Bench(), replace(other, contract=contract)).passed
    code.write_text("import os\nos._exit(7)\n")
    with pytest.raises(VersionCorrupt, match="ended its process with code 7: it said nothing"):
        golden.judge(Bench(), replace(other, contract=contract))


def test_a_version_that_hangs_is_given_up_and_may_be_tried_again(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """After a while that is enough for a good one; it may have been the host that was busy."""
    tried = Bench()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "_PATIENCE_SECONDS", 0.2)
        with pytest.raises(VersionCorrupt, match=r"did not answer within 0\.2 s"):
            golden.judge(tried, proposal(version, tmp_path))
    assert golden.judge(tried, proposal(version, tmp_path)).passed


def test_latency_is_measured_for_each_number_of_rows(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """Within its budget or over it; the figures go into the report."""
    policy = Latency(p99_ms={1: 60_000, 64: 1e-6}, seconds=0.1)
    verdict = latency.judge(policy, Bench(), proposal(version, tmp_path))
    assert not verdict.passed
    assert "1 row: p99" in verdict.sentences[0]
    assert "within 60000 ms" in verdict.sentences[0]
    assert "64 rows: p99" in verdict.sentences[1]
    assert "over 1e-06 ms" in verdict.sentences[1]
    assert set(verdict.figures) == {"p50_ms_1_rows", "p99_ms_1_rows", "p50_ms_64_rows"} | {
        "p99_ms_64_rows"
    }
    assert verdict.figures["p50_ms_1_rows"] <= verdict.figures["p99_ms_1_rows"]


def test_measuring_stops_in_time_and_after_enough_calls(
    version: tuple[Path, Contract], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one call takes longer than all may."""
    contract, pipeline = load_pipeline(2, version[0])
    once = bench_process._timed(contract, pipeline, 8, 0.0)
    assert once.calls == 1
    monkeypatch.setattr(bench_process, "_MOST_CALLS", 10)
    assert bench_process._timed(contract, pipeline, 8, 60).calls == 10


def test_latency_needs_golden_rows_to_measure_with(tmp_path: Path) -> None:
    """Nothing else is known that the version answers."""
    policy = Latency(p99_ms={1: 5})
    verdict = latency.judge(policy, Bench(), FakeProposal(home=tmp_path))
    assert verdict.sentences == ("The contract has no golden rows to measure with.",)


def test_scores_are_those_of_the_model_on_the_held_out_rows(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """By ONNX Runtime, over nulls and texts, as scikit-learn defines them."""
    folder, contract = version
    estimator, output = models.fitted("logistic regression, three classes")
    truth = models.target(output)
    kept = keep_held_out(frame(), truth, output, tmp_path)
    contract, pipeline = load_pipeline(2, folder)
    found = score_held_out(contract, pipeline, kept.file)
    probabilities = estimator.predict_proba(frame())
    predicted = probabilities.argmax(axis=1)
    expected = {
        "accuracy": accuracy_score(truth, predicted),
        "f1_macro": f1_score(truth, predicted, average="macro"),
        "auc_macro": roc_auc_score(truth, probabilities, multi_class="ovr", average="macro"),
        "log_loss": log_loss(truth, probabilities),
    }
    assert found == pytest.approx(expected, abs=1e-5)
    assert Bench().scores(2, folder, kept.file) == pytest.approx(found)


def test_scores_of_a_regression(tmp_path: Path) -> None:
    """Its own metrics."""
    folder = tmp_path / "3"
    stored_version(folder, "ridge")
    truth = models.target(models.EUR)
    kept = keep_held_out(frame(), truth, models.EUR, tmp_path)
    found = score_held_out(*load_pipeline(3, folder), kept.file)
    assert found.keys() == {"mae", "rmse", "r2"}
    assert found["r2"] > 0.5


def test_metrics_that_the_rows_do_not_allow_are_left_out(
    version: tuple[Path, Contract], tmp_path: Path
) -> None:
    """Of one class there is no area under a curve."""
    contract, pipeline = load_pipeline(2, version[0])
    rows = frame().head(10)
    kept = keep_held_out(rows, np.zeros(10, int), contract.output, tmp_path)
    found = score_held_out(contract, pipeline, kept.file)
    assert "auc_macro" not in found
    assert "accuracy" in found


def test_kept_rows_are_bounded_and_the_digest_is_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same rows and labels it is the same; one label makes another."""
    assert MOST_ROWS == 20_000
    monkeypatch.setattr("trivet.training.held_out.MOST_ROWS", 50)
    rows = frame().assign(odd=[object()] * models.ROWS)
    labels = models.target(models.THREE)
    kept = keep_held_out(rows, labels, models.THREE, tmp_path)
    again = keep_held_out(rows, list(labels), models.THREE, tmp_path)
    assert (kept.rows, kept.digest) == (models.ROWS, again.digest)
    other = labels.copy()
    other[1] = (other[1] + 1) % 3
    assert keep_held_out(rows, other, models.THREE, tmp_path).digest != kept.digest
    import pyarrow.parquet as pq

    stored = pq.read_table(kept.file)
    assert len(stored) == 50
    assert "odd" not in stored.column_names


@pytest.mark.parametrize(
    ("labels", "output", "says"),
    [
        ([0, 1], models.THREE, r"600 held-out rows have labels of the shape \(2,\)"),
        ([3] * models.ROWS, models.THREE, "whole numbers from 0 to 2"),
        (["low"] * models.ROWS, models.THREE, "whole numbers from 0 to 2"),
        ([[1.0]] * models.ROWS, Regression(unit="EUR"), "of the shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused_at_registration(
    tmp_path: Path, labels: list, output: object, says: str
) -> None:
    """And not months later, when somebody wants to compare."""
    with pytest.raises(BadSetting, match=says):
        keep_held_out(frame(), labels, output, tmp_path)  # type: ignore[arg-type]


def test_what_is_asked_and_answered_is_json(version: tuple[Path, Contract]) -> None:
    """The two processes share nothing else."""
    asked = Asked(version=2, folder=version[0], latency_rows=(1,), latency_seconds=0.01)
    assert Asked.model_validate_json(asked.model_dump_json()) == asked
    tried = bench_process._try(asked)
    assert bench.Tried.model_validate_json(tried.model_dump_json()) == tried
    assert tried.latency[1].calls >= 1
