"""Where the reason is kept when features are applied although a live version breaks.

A run in the experiment `trivet/features/<project>`, beside the ledgers of releases: one application
can break versions of several models, and a tag on each would keep only the last reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trivet.registry.client import ensure_experiment, find_experiment, translated
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """One application that broke what was live."""

    who: str
    reason: str
    at: datetime
    broken: str
    """Such as `flight_delay version 2`."""


@contextmanager
def recorded(
    client: MlflowClient,
    settings: Settings,
    project: str,
    forced: Forced,
    document: Mapping[str, object],
) -> Iterator[None]:
    """Record a forced application around doing it: begun before, finished or failed after.

    Args:
        client: of the registry.
        settings: say where new experiments keep their artifacts.
        project: of Feast.
        forced: what is kept as parameters.
        document: what changes and what breaks, as JSON; becomes the run's `apply.json`.

    Raises:
        RegistryUnavailable: MLflow does not answer; nothing has been applied.
    """
    experiment = ensure_experiment(client, settings, _name(project))
    with translated(client):
        began = int(forced.at.timestamp() * 1000)
        run_id = client.create_run(experiment, began, run_name="forced apply").info.run_id
        for name in ("who", "reason", "broken"):
            client.log_param(run_id, name, getattr(forced, name))
        client.log_dict(run_id, dict(document), "apply.json")
    try:
        yield
    except BaseException:
        with translated(client):
            client.set_terminated(run_id, "FAILED")
        raise
    with translated(client):
        client.set_terminated(run_id)


def last_forced(client: MlflowClient, project: str) -> Forced | None:
    """Return the newest forced application of a project's features, or None.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    experiment = find_experiment(client, _name(project))
    if experiment is None:
        return None
    with translated(client):
        runs = client.search_runs([experiment], max_results=1, order_by=["start_time DESC"])
    return next((_forced(run.data.params, run.info.start_time) for run in runs), None)


def _forced(params: Mapping[str, str], began: int) -> Forced:
    return Forced(
        who=params.get("who", ""),
        reason=params.get("reason", ""),
        at=datetime.fromtimestamp(began / 1000, tz=UTC),
        broken=params.get("broken", ""),
    )


def _name(project: str) -> str:
    return f"trivet/features/{project}"
