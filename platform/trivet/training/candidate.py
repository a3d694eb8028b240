"""Register a fitted model as a version with its serving contract.

candidate -> preprocess held-out rows -> compile with parity -> golden rows -> contract -> MLflow
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from trivet.clock import system_clock
from trivet.columns import Columns, stored
from trivet.contract import (
    REQUEST,
    Classification,
    Column,
    Contract,
    GoldenRow,
    JoinKey,
    OnDemandView,
    Regression,
    Runtime,
    View,
)
from trivet.offer import Offer
from trivet.registry.client import connect
from trivet.registry.evaluation import DIGEST_TAG, HELD_OUT, ROWS_TAG
from trivet.registry.register import Submission, log_version
from trivet.runtime.compile import Compiled, compile_with_parity
from trivet.runtime.estimator import EstimatorPredictor
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.parity import gather_proof
from trivet.runtime.pipeline import Pipeline, golden_row
from trivet.runtime.predictor import Predictor
from trivet.runtime.steps import load_preprocess
from trivet.settings import Settings
from trivet.training.frames import to_columns, to_frame
from trivet.training.held_out import HeldOut, keep_held_out

if TYPE_CHECKING:  # it imports Feast, which a model with all columns in the request does without
    from trivet.training.sets import TrainingSet

GOLDEN_ROWS = 8
TRUSTED_TYPES = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.dtype",
    "skl2onnx.sklapi.cast_transformer.CastTransformer",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)
"""What skops asks about in models that can be compiled: data holders that run no code."""

_RECORDED_LIBRARIES = ("mlflow", "feast", "bentoml", "scikit-learn", "numpy", "onnxruntime")
_STEPS_OF = {
    "lightgbm": ("lightgbm",),
    "skl2onnx": ("skl2onnx",),
    "xgboost": ("xgboost", "xgboost-cpu"),
}
"""Distributions that hold a pipeline's steps, by the package that they are imported from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fitted model and all that a contract has to say of it."""

    model: str
    """Name of the registered model."""
    estimator: Any
    """Fitted scikit-learn pipeline on the frame that preprocess gives; classes are 0..k-1."""
    columns: Sequence[Column]
    """What preprocess takes, in order: of the offer, and of the request."""
    output: Classification | Regression
    held_out: pd.DataFrame
    """Rows not trained on, with join keys and columns: parity and golden rows come from them.

    A column `asked_at` (aware moments), where there is one, dates the golden rows.
    """
    labels: npt.ArrayLike | None = None
    """What was to be predicted of the held-out rows: class ids, or values. With them the rows are kept
    beside the version, so that the release gate `metrics` can measure others on the same."""
    bento: Path
    """The bento's folder: its preprocess.py and postprocess.py, where it has them, go along."""
    offer: Offer | None = None
    """The feature service as it is now; None for a model whose columns are all in the request."""
    join_keys: Sequence[JoinKey] = ()
    lead: timedelta = timedelta(0)
    run_name: str = "candidate"
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    training_set: TrainingSet | None = None
    """What was trained on; the run keeps what it takes to make the very set again."""
    skops_trusted_types: Sequence[str] = TRUSTED_TYPES
    """Types that the author vouches for; stored with the version, so that consumers name none."""


def model_inputs(bento: Path, columns: Sequence[Column], frame: pd.DataFrame) -> pd.DataFrame:
    """Return what an estimator is fitted on: the contract's columns through preprocess.

    Raises:
        BadSetting: the frame does not have what the columns say.
    """
    values: Columns = to_columns(columns, frame)
    code = bento / "preprocess.py"
    return to_frame(load_preprocess(code)(values) if code.exists() else values)


def register(settings: Settings, candidate: Candidate) -> int:
    """Compile, prove, write the contract and log; return the new version's number."""
    model = EstimatorPredictor(candidate.estimator, candidate.output)
    pipeline = pipeline_of(candidate, model)
    values = to_columns(candidate.columns, candidate.held_out)
    proof = gather_proof(candidate.estimator, model, candidate.columns, values, pipeline.prepare)
    compiled = compile_with_parity(candidate.estimator, proof, candidate.output)
    if compiled.model is not None:
        pipeline = pipeline_of(candidate, OnnxPredictor(compiled.model, candidate.output))
    contract = contract_of(candidate, compiled, golden_rows(candidate, pipeline))
    trained_on = candidate.training_set
    with TemporaryDirectory() as folder:
        kept = _keep(candidate, Path(folder))
        submission = Submission(
            contract=contract,
            estimator=candidate.estimator,
            example=to_frame(proof.rows).head(5),
            onnx=compiled.model,
            preprocess=_code(candidate, "preprocess.py"),
            postprocess=_code(candidate, "postprocess.py"),
            metrics=candidate.metrics,
            params=candidate.params,
            tags=lineage_of(contract),
            run_tags={} if kept is None else {DIGEST_TAG: kept.digest, ROWS_TAG: str(kept.rows)},
            figures=candidate.figures,
            documents={
                **_feast_documents(contract),
                **({} if trained_on is None else trained_on.documents),
            },
            files={
                **({} if trained_on is None else trained_on.files),
                **({} if kept is None else {HELD_OUT: kept.file}),
            },
            skops_trusted_types=candidate.skops_trusted_types,
        )
        return log_version(connect(settings), settings, submission, run_name=candidate.run_name)


def _keep(candidate: Candidate, folder: Path) -> HeldOut | None:
    if candidate.labels is None:
        return None
    return keep_held_out(candidate.held_out, candidate.labels, candidate.output, folder)


def pipeline_of(candidate: Candidate, predictor: Predictor) -> Pipeline:
    """Return the candidate's own steps around a predictor."""
    return Pipeline.from_code(
        _code(candidate, "preprocess.py"),
        _code(candidate, "postprocess.py"),
        predictor,
        candidate.output,
    )


def _code(candidate: Candidate, name: str) -> Path | None:
    path = candidate.bento / name
    return path if path.exists() else None


def contract_of(
    candidate: Candidate, compiled: Compiled, golden: tuple[GoldenRow, ...]
) -> Contract:
    """Return the candidate's contract; its `files` are still empty."""
    offer = candidate.offer
    on_demand, inputs = _beside(candidate)
    return Contract(
        model=candidate.model,
        project=offer.project if offer else None,
        feature_service=offer.feature_service if offer else None,
        join_keys=_join_keys(candidate),
        views=_views(candidate),
        columns=tuple(candidate.columns),
        inputs=inputs,
        on_demand=on_demand,
        lead_seconds=candidate.lead.total_seconds(),
        output=candidate.output,
        runtime=Runtime(
            kind="pyfunc" if compiled.model is None else "onnx",
            parity=compiled.parity,
            reason=compiled.reason,
        ),
        files={},
        libraries=_libraries(candidate.estimator),
        golden=golden,
    )


def _libraries(estimator: Any) -> dict[str, str]:
    """Return the versions of what every model needs, and of what this one's steps come from."""
    steps = [step for _, step in getattr(estimator, "steps", [("model", estimator)])]
    roots = {type(step).__module__.partition(".")[0] for step in steps}
    beside = [name for root in sorted(roots & set(_STEPS_OF)) for name in _STEPS_OF[root]]
    found = {name: _installed(name) for name in (*_RECORDED_LIBRARIES, *beside)}
    return {name: number for name, number in found.items() if number is not None}


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None


def _beside(candidate: Candidate) -> tuple[tuple[OnDemandView, ...], tuple[Column, ...]]:
    """Return what the candidate's columns need beside them: on-demand views and their inputs."""
    return candidate.offer.relied_on(candidate.columns) if candidate.offer else ((), ())


def _views(candidate: Candidate) -> tuple[View, ...]:
    used = {column.view for column in (*candidate.columns, *_beside(candidate)[1])}
    offered = candidate.offer.views if candidate.offer else ()
    return tuple(view for view in offered if view.name in used)


def _join_keys(candidate: Candidate) -> tuple[JoinKey, ...]:
    """Return the keys of the views that are used: nobody has to send the others."""
    needed = {key for view in _views(candidate) for key in view.join_keys}
    offered = candidate.offer.join_keys if candidate.offer else ()
    return (*(key for key in offered if key.name in needed), *candidate.join_keys)


def _asked_fields(candidate: Candidate) -> list[str]:
    """Return the names of what a caller sends: join keys, then request columns."""
    columns = (*candidate.columns, *_beside(candidate)[1])
    sent = [column.name for column in columns if column.source == REQUEST]
    return list(dict.fromkeys([*(key.name for key in _join_keys(candidate)), *sent]))


def golden_rows(candidate: Candidate, pipeline: Pipeline) -> tuple[GoldenRow, ...]:
    """Choose rows spread over the held-out ones, and predict them by the runtime that will serve."""
    frame = candidate.held_out
    chosen = np.unique(np.linspace(0, len(frame) - 1, GOLDEN_ROWS).astype(int))
    rows = frame.iloc[chosen]
    values = to_columns(candidate.columns, rows)
    predictions = pipeline.run(values).predictions
    asked = _asked_fields(candidate)
    return tuple(
        golden_row(
            asked_at=_asked_at(rows, number),
            request={name: rows[name].iloc[number] for name in asked},
            features={c.name: stored(c, values[c.name][number]) for c in candidate.columns},
            prediction=predictions[number],
        )
        for number in range(len(rows))
    )


def _asked_at(rows: pd.DataFrame, number: int) -> datetime:
    if "asked_at" not in rows:
        return system_clock()
    return pd.Timestamp(rows["asked_at"].iloc[number]).to_pydatetime().astimezone(UTC)


def lineage_of(contract: Contract) -> dict[str, str]:
    """Return the tags that Feast's own MLflow integration writes and reads."""
    if contract.feature_service is None or contract.project is None:
        return {}
    return {"feast.project": contract.project, "feast.feature_service": contract.feature_service}


def _feast_documents(contract: Contract) -> dict[str, list[str]]:
    """Return `feast_features.json` as Feast's own MLflow integration writes it."""
    features = [column.source for column in contract.columns if column.view is not None]
    return {"feast_features.json": features} if features else {}
