"""A run as evidence for a version, carried from one MLflow to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trivet.errors import UnknownModel
from trivet.registry.client import translated
from trivet.registry.download import download

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_KEPT = ("mlflow.note.content", "mlflow.runName", "mlflow.user")
"""Of MLflow's own tags those that say the same everywhere."""
_MOST_PARAMS = 100
_MOST_METRICS = 1000
"""What MLflow takes in one call."""

T = TypeVar("T")


def read_evidence(client: MlflowClient, run_id: str | None) -> Run | None:
    """Return the run that a version came from; None if it had none, or it was removed for good.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    if not run_id:
        return None
    try:
        with translated(client):
            return client.get_run(run_id)
    except UnknownModel:
        return None


def begin_run(
    there: MlflowClient, experiment: str, name: str, run: Run | None, tags: Mapping[str, str]
) -> str:
    """Begin a run for a copied version, with the tags of the one it was made in.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    kept = {} if run is None else {k: v for k, v in run.data.tags.items() if _travels(k)}
    started = None if run is None else run.info.start_time
    with translated(there):
        # A run brings its own name among its tags.
        made = there.create_run(
            experiment, started, {**kept, **tags}, name if run is None else None
        )
    return str(made.info.run_id)


def carry(client: MlflowClient, run: Run, there: MlflowClient, run_id: str, folder: Path) -> None:
    """Give a run the parameters, the metrics with their history, and the artifacts of another.

    Args:
        client: where `run` is.
        run: to read.
        there: where `run_id` is.
        run_id: to write.
        folder: that does not exist yet, for the artifacts on their way.

    Raises:
        VersionCorrupt: an artifact cannot be read.
        RegistryUnavailable: one of the two does not answer.
    """
    from mlflow.entities import Param

    folder.mkdir()
    params = [Param(key, value) for key, value in sorted(run.data.params.items())]
    with translated(client):
        history = [
            m for k in run.data.metrics for m in client.get_metric_history(run.info.run_id, k)
        ]
        artifacts = [entry.path for entry in client.list_artifacts(run.info.run_id)]
        models = _logged_models(client, run)
    with translated(there):
        for some in _batches(params, _MOST_PARAMS):
            there.log_batch(run_id, params=some)
        for each in _batches(history, _MOST_METRICS):
            there.log_batch(run_id, metrics=each)
    for path in artifacts:
        if path not in models:
            download(client, f"runs:/{run.info.run_id}/{path}", folder)
    with translated(there):
        if any(folder.iterdir()):
            there.log_artifacts(run_id, str(folder))


def _travels(tag: str) -> bool:
    return not tag.startswith("mlflow.") or tag in _KEPT


def _logged_models(client: MlflowClient, run: Run) -> set[str]:
    """Return the names of the models that a run has logged: MLflow lists them as its artifacts too."""
    outputs = [] if run.outputs is None else run.outputs.model_outputs
    return {str(client.get_logged_model(each.model_id).name) for each in outputs}


def _batches(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
