"""What was measured of a version when it was registered, and on which held-out rows.

The run that a version came from has the metrics; two tags, the digest and the number of all held-out
rows; and the artifact `trivet/held_out.parquet`, so many of them that another version can be measured
on the same: the columns of the held-out frame, and what was to be predicted as `trivet:label`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.registry.client import translated
from trivet.registry.download import download_run_file
from trivet.registry.versions import find_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

HELD_OUT = "trivet/held_out.parquet"
LABEL = "trivet:label"
DIGEST_TAG = "trivet.held_out_digest"
ROWS_TAG = "trivet.held_out_rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics, and the rows that they were measured on."""

    metrics: Mapping[str, float]
    digest: str | None
    """Of all held-out rows with their labels; None where the version was registered without."""
    rows: int


def read_evaluation(client: MlflowClient, model: str, version: int) -> Evaluation:
    """Return what was measured of a version; nothing where its run is not there any more.

    Raises:
        UnknownModel: there is no such version, or its run was removed for good.
        RegistryUnavailable: MLflow does not answer.
    """
    entry = find_version(client, model, version)
    if not entry.run_id:
        return Evaluation(metrics={}, digest=None, rows=0)
    missing = f"The run that {model} version {version} came from is not in MLflow any more."
    with translated(client, missing):
        data = client.get_run(entry.run_id).data
    return Evaluation(
        metrics=dict(data.metrics),
        digest=data.tags.get(DIGEST_TAG),
        rows=int(data.tags.get(ROWS_TAG, 0)),
    )


def bring_held_out(client: MlflowClient, model: str, version: int, folder: Path) -> Path:
    """Bring the held-out rows of a version into a folder, and return the file.

    Raises:
        UnknownModel: there is no such version.
        VersionCorrupt: its run is not there any more, or has no such rows.
        RegistryUnavailable: MLflow does not answer.
    """
    return download_run_file(client, model, version, HELD_OUT, folder)
