"""Batch jobs as runs: the experiment `trivet/batch/<model>`, one run a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trivet.registry.client import ensure_experiment, translated
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

JOB_TAG = "trivet.batch_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """What is kept of a job."""

    job_id: str
    model: str
    status: str
    """MLflow's: FINISHED, or FAILED for one that was stopped and may go on."""
    started: datetime
    ended: datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def record_batch(client: MlflowClient, settings: Settings, run: BatchRun) -> str:
    """Write a job's run, or bring the one that it has up to date; return the run's id.

    A job that goes on after it was stopped or killed has the same id, and so the same run.

    Raises:
        RegistryUnavailable: MLflow does not answer.
        RegistryDenied: it does not let this account write.
    """
    from mlflow.entities import Metric, Param, RunTag

    experiment = ensure_experiment(client, settings, f"trivet/batch/{run.model}")
    with translated(client):
        found = client.search_runs([experiment], f"tags.`{JOB_TAG}` = '{run.job_id}'")
        if found and found[0].info.status == run.status == "FINISHED":
            return str(found[0].info.run_id)
        began, ended = (int(at.timestamp() * 1000) for at in (run.started, run.ended))
        if found:
            run_id = found[0].info.run_id
        else:
            name = f"batch {run.model} {run.params.get('version', '')}".rstrip()
            tags = {JOB_TAG: run.job_id}
            run_id = client.create_run(experiment, began, tags, name).info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, ended, 0) for name, value in run.metrics.items()],
            params=[Param(name, value) for name, value in run.params.items()],
            tags=[RunTag("trivet.model", run.model)],
        )
        client.set_terminated(run_id, run.status, ended)
    return str(run_id)
