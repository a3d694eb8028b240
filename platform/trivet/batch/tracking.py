"""A job as a run in MLflow; its output does not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from trivet.errors import ArtifactsUnavailable, RegistryDenied, RegistryUnavailable, UnknownModel
from trivet.registry.batches import BatchRun, record_batch
from trivet.registry.client import connect, require_database
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.batch.run import Outcome


def track(
    settings: Settings, outcome: Outcome, status: str, ended: datetime, note: Callable[[str], None]
) -> Outcome:
    """Write the run, and return the outcome with its id; where MLflow does not take it, say so."""
    job = outcome.job
    wanted = job.wanted
    run = BatchRun(
        job_id=job.id,
        model=wanted.model,
        status=status,
        started=job.started,
        ended=ended,
        params={
            "version": str(wanted.version),
            "contract_digest": wanted.contract_digest,
            "entities_sha256": wanted.entities.sha256,
            **{f"options.{k}": _text(v) for k, v in wanted.options.model_dump().items()},
        },
        metrics={
            "rows": outcome.rows,
            "predicted": outcome.predicted,
            "rejected": outcome.rejected,
            "missing": outcome.missing,
            "seconds": round(outcome.seconds, 3),
            "rows_per_second": round(outcome.rate, 1),
            **outcome.quality,
        },
    )
    try:
        require_database(settings)
        run_id = record_batch(connect(settings), settings, run)
    except (ArtifactsUnavailable, RegistryDenied, RegistryUnavailable, UnknownModel) as err:
        note(f"MLflow has no run of this job: {err.sentence} The same command writes it later.")
        return outcome
    return replace(outcome, run_id=run_id)


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
