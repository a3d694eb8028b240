"""Two projects, trained and released as a reader would do it, and their services."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import templates
from journey import Project, Service

from .notebook import Notebook


@pytest.fixture(scope="session")
def notebook() -> Notebook:
    """Return what the tutorial's own cells compute."""
    return Notebook()


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Any]:
    """Train the classifier in a project of its own, and return what that printed as well."""
    project, printed = templates.trained_classifier(tmp_path_factory)
    return project, json.loads(printed)


@pytest.fixture(scope="session")
def trained(training: tuple[Project, Any]) -> Project:
    """Return a project with two versions of the classifier, none released; not to be changed."""
    return training[0]


@pytest.fixture
def classifier(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return such a project for a test that releases in it."""
    return _duplicate(trained, tmp_path_factory)


@pytest.fixture(scope="session")
def classifier_service(
    trained: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Serve the classifier with two workers: version 2 is the champion, 1 was before it."""
    project = _duplicate(trained, tmp_path_factory)
    for version in ("1", "2"):
        project.run("trivet", "promote", "tutorial_classifier", version)
    with Service(project, "tutorial_classifier", workers=2) as service:
        yield service


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Project:
    """Return a project with the users in Feast, and a version trained on them and released."""
    project = Project.copy(tmp_path_factory.mktemp("users") / "project")
    shutil.copyfile(empty_registry, project.root / "mlflow.db")
    project.release_users()
    return project


@pytest.fixture(scope="session")
def users_service(users: Project) -> Iterator[Service]:
    """Serve the users' version."""
    with Service(users, "tutorial_users") as service:
        yield service


def _duplicate(trained: Project, folders: pytest.TempPathFactory) -> Project:
    # The models are read where they were logged; releases are written to the duplicate's registry.
    root = folders.mktemp("classifier") / "project"
    shutil.copytree(trained.root, root)
    return Project(root)
