"""Which registry a project has, and whether its artifacts can be written: tried, and left as it was."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from trivet.errors import ArtifactsUnavailable, RegistryDenied, without_secrets
from trivet.registry.client import find_experiment, translated
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HOMES = ("trivet/releases", "Default")
"""Experiments whose place is tried, the first that there is."""


def describe(settings: Settings) -> str:
    """Return what the project's registry is, where it is, and which account asks it."""
    uri = settings.tracking_uri
    account = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if not uri.startswith(("http:", "https:")):
        return without_secrets(uri)
    return f"{without_secrets(uri)}, as {account}" if account else without_secrets(uri)


def try_artifacts(client: MlflowClient, settings: Settings) -> str:
    """Write a small artifact, read it, remove it again, and return a sentence of what came of it.

    Where an account may write and not delete, nothing is tried.

    Raises:
        ArtifactsUnavailable: the store does not answer, refuses, or is read-only.
        RegistryUnavailable: MLflow does not answer.
    """
    with translated(client):
        location = _location(client, settings)
        shown = without_secrets(location)
        if location.startswith(("file:", "/")):
            _see_writable(client, Path(unquote(urlsplit(location).path)))
            return f"written to {shown}, which only this machine can read"
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store: Any = get_artifact_repository(location, tracking_uri=client.tracking_uri)
        name = f"trivet-doctor-{uuid.uuid4().hex}.txt"
        try:
            with translated(client):
                store.delete_artifacts(name)
        except RegistryDenied:
            return f"at {shown}; not tried, as this account could not remove what it writes"
        _write_and_read(store, name)
    return f"can be written and read at {shown}"


def _location(client: MlflowClient, settings: Settings) -> str:
    for name in _HOMES:
        if (found := find_experiment(client, name)) is not None:
            if name == "Default" and not client.tracking_uri.startswith("http"):
                break
            return str(client.get_experiment(found).artifact_location)
    return settings.artifact_root


def _see_writable(client: MlflowClient, folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArtifactsUnavailable(
            client.tracking_uri, PermissionError(f"{folder} cannot be written.")
        )


def _write_and_read(store: Any, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text("Written by trivet doctor, and removed at once.\n")
        try:
            store.log_artifact(str(file))
            store.download_artifacts(name, dst_path=folder)
        finally:
            store.delete_artifacts(name)
