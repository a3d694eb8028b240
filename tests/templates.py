"""What is expensive to make and cheap to copy: made once a run, by whichever process needs it first."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from journey import REPOSITORY, Project
from trivet.registry.client import connect
from trivet.settings import Settings

FLIGHTS_NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
"""The moment that the flights are moved to."""
_MADE = ".made"


def empty_registry(folders: pytest.TempPathFactory) -> Path:
    """Return the database of a registry without content: MLflow's migrations take it seconds."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
                patch.delenv(name, raising=False)
            client = connect(Settings(root=folder, home=folder / ".trivet"))
            assert not client.search_registered_models()
        # Whoever opens a copy makes the default experiment anew, with artifacts in their own place.
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            database.execute("DELETE FROM experiments")

    return _made_once(folders, "empty-registry", make) / "mlflow.db"


def trained_classifier(folders: pytest.TempPathFactory) -> tuple[Project, str]:
    """Return a project with two versions of the tutorial's classifier, and what training printed."""

    def make(folder: Path) -> None:
        project = Project.copy(folder / "project")
        shutil.copyfile(empty_registry(folders), project.root / "mlflow.db")
        printed = project.run("trivet", "train", "tutorial_classifier").stdout
        (folder / "printed.json").write_text(printed)

    made = _made_once(folders, "trained-classifier", make)
    return Project(made / "project"), (made / "printed.json").read_text()


def flights(folders: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the data that the step of the worked example prepares, and what it said."""

    def make(folder: Path) -> None:
        step = REPOSITORY / "bentos" / "flight_delay" / "flights.py"
        command = [sys.executable, step, "--data", folder / "data"]
        command += ["--now", FLIGHTS_NOW.isoformat()]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        (folder / "said.txt").write_text(done.stderr)

    made = _made_once(folders, "flights", make)
    return made / "data", (made / "said.txt").read_text()


def _made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that all processes of a run share, and none changes."""
    base = folders.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = run / name
    with FileLock(run / f"{name}.lock"):
        if not (folder / _MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)  # what another process could not finish
            folder.mkdir()
            make(folder)
            (folder / _MADE).touch()
    return folder
