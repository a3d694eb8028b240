"""Register a version: one run with its evidence, and the model with its contract."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trivet.contract import Contract
from trivet.registry import flavor
from trivet.registry.client import ensure_experiment, translated
from trivet.registry.download import download_contract
from trivet.registry.failures import EXISTS
from trivet.registry.versions import DIGEST_TAG, RUNTIME_TAG
from trivet.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Everything that one version is registered with."""

    contract: Contract
    """Its `files` is empty; it is filled in from what is written."""
    estimator: flavor.Estimator
    example: pd.DataFrame
    """A few rows of the model's inputs, after preprocess: for signature and input example."""
    onnx: bytes | None = None
    preprocess: Path | None = None
    postprocess: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the version, such as `feast.feature_service`."""
    run_tags: Mapping[str, str] = field(default_factory=dict)
    """Of the run."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Pictures of the run, by file name; `.png` where it has no suffix."""
    documents: Mapping[str, object] = field(default_factory=dict)
    """JSON artifacts of the run, by file name."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files of this machine that become artifacts of the run, by the name they get there."""
    skops_trusted_types: Sequence[str] = ()


def log_version(
    client: MlflowClient, settings: Settings, submission: Submission, run_name: str
) -> int:
    """Log one run with its evidence, and register its model as the next version.

    The version has its contract's digest as a tag from its first moment.

    Raises:
        RegistryUnavailable: MLflow does not answer; a run begun is marked as failed.
    """
    import mlflow

    model = submission.contract.model
    experiment = ensure_experiment(client, settings, model)
    with (
        translated(client),
        mlflow.start_run(experiment_id=experiment, run_name=run_name, nested=True) as run,
    ):
        run_id = run.info.run_id
        _log_evidence(client, run_id, submission)
        model_id = _log_model(run_id, submission)
        stored = client.get_logged_model(model_id).artifact_location
        contract = download_contract(client, stored, f"{model} ({model_id})")
        tags = {
            **submission.tags,
            DIGEST_TAG: contract.digest,
            RUNTIME_TAG: contract.runtime.kind,
        }
        return register_model_version(client, model, model_id, run_id, tags)


def _log_evidence(client: MlflowClient, run_id: str, submission: Submission) -> None:
    import mlflow

    mlflow.log_metrics(dict(submission.metrics), run_id=run_id)
    mlflow.log_params(dict(submission.params), run_id=run_id)
    for name, tag in submission.run_tags.items():
        client.set_tag(run_id, name, tag)
    for name, figure in submission.figures.items():
        client.log_figure(run_id, figure, name if Path(name).suffix else f"{name}.png")
    for name, document in submission.documents.items():
        client.log_text(run_id, json.dumps(document, indent=2), name)
    for name, path in submission.files.items():
        _log_file(client, run_id, path, PurePosixPath(name))


def _log_file(client: MlflowClient, run_id: str, path: Path, name: PurePosixPath) -> None:
    # MLflow gives an artifact the name of its file.
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / name.name
        link.symlink_to(path.resolve())
        client.log_artifact(run_id, str(link), str(name.parent) if name.parent.name else None)


def _log_model(run_id: str, submission: Submission) -> str:
    from mlflow.models import Model

    parts = flavor.Parts(
        contract=submission.contract,
        estimator=submission.estimator,
        example=submission.example,
        onnx=submission.onnx,
        preprocess=submission.preprocess,
        postprocess=submission.postprocess,
        skops_trusted_types=submission.skops_trusted_types,
    )
    logged = Model.log(
        artifact_path=None,
        name=submission.contract.model,
        flavor=flavor,
        run_id=run_id,
        parts=parts,
        validate_serving_input=False,  # it would load the model again, for seconds
    )
    return str(logged.model_id)


def register_model_version(
    client: MlflowClient, model: str, model_id: str, run_id: str, tags: dict[str, str]
) -> int:
    """Register a logged model as the next version of a registered model, made where there is none.

    Args:
        client: of the registry.
        model: name of the registered model.
        model_id: of the logged model.
        run_id: of the run that it came from.
        tags: that the version has from its first moment.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as err:
        if err.error_code not in EXISTS:
            raise
    entry = client.create_model_version(
        model, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id
    )
    return int(entry.version)
