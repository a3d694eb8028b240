"""A project's MLflow registry, as somebody with MLflow's own client sees and changes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from journey import Project
from trivet.settings import silence_telemetry

silence_telemetry()

from mlflow import MlflowClient  # noqa: E402 - its usage reporting is decided by the environment

MODEL = "flight_delay"


class Registry:
    """The versions, aliases and ledger of the flight-delay model."""

    def __init__(self, project: Project) -> None:
        """`project`: the one whose `mlflow.db` it is."""
        uri = f"sqlite:///{project.root / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)

    @property
    def versions(self) -> list[int]:
        """The numbers of all versions, in order."""
        found = self._client.search_model_versions(f"name='{MODEL}'")
        return sorted(int(version.version) for version in found)

    @property
    def aliases(self) -> dict[str, int]:
        """Where each alias points."""
        aliases = self._client.get_registered_model(MODEL).aliases
        return {alias: int(version) for alias, version in aliases.items()}

    @property
    def releases(self) -> list[tuple[str, str]]:
        """Action and version of each run in the ledger, oldest first."""
        experiment = self._client.get_experiment_by_name(f"trivet/releases/{MODEL}")
        runs = self._client.search_runs([experiment.experiment_id])
        params = sorted((run.data.params for run in runs), key=lambda p: int(p["sequence"]))
        return [(one["action"], one["to_version"]) for one in params]

    def copy(self, version: int) -> int:
        """Copy a version by MLflow's own means; return the new one's number."""
        made = self._client.copy_model_version(f"models:/{MODEL}/{version}", MODEL)
        return int(made.version)

    def point(self, alias: str, version: int | None) -> None:
        """Move an alias, or remove it."""
        if version is None:
            self._client.delete_registered_model_alias(MODEL, alias)
        else:
            self._client.set_registered_model_alias(MODEL, alias, str(version))

    def contract(self, version: int) -> Any:
        """Return the contract among a version's artifacts."""
        uri = self._client.get_model_version_download_uri(MODEL, str(version))
        return json.loads(Path(uri.removeprefix("file://"), "trivet", "contract.json").read_text())
