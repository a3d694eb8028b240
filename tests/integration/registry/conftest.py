"""A registry in SQLite with three versions of a tiny classifier, new for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trivet.live import Shelf
from trivet.registry.client import connect
from trivet.registry.gate import Gates
from trivet.registry.plan import plan_promotion
from trivet.registry.release import apply
from trivet.settings import Settings

from .toy import MODEL, register

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from trivet.registry.ledger import Release


class Registry:
    """A registry with the calls that a test's story is told in."""

    def __init__(self, settings: Settings) -> None:
        """Connect to it."""
        self.settings = settings
        self.client: MlflowClient = connect(settings)
        self.shelf = Shelf(settings.home, MODEL)

    def promote(self, version: int, gates: Gates | None = None, who: str = "ann") -> Release:
        """Plan and apply a promotion."""
        plan = plan_promotion(self.client, MODEL, version)
        return apply(self.client, self.settings, plan, gates or {}, who, "a test")

    def move_alias(self, version: int) -> None:
        """Move the alias as somebody in `mlflow ui` would."""
        self.client.set_registered_model_alias(MODEL, "champion", str(version))

    @property
    def alias(self) -> int | None:
        """The version that the alias points to."""
        aliases = self.client.get_registered_model(MODEL).aliases
        return int(aliases["champion"]) if "champion" in aliases else None


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="session")
def three_versions(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path
) -> Iterator[Path]:
    """Return a project whose registry has versions 1, 2 and 3, none released."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("template")
        shutil.copyfile(empty_registry, root / "mlflow.db")
        settings = Settings(root=root, home=root / ".trivet")
        client = connect(settings)
        for trees in (1, 2, 3):
            register(client, settings, trees)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def one_released(tmp_path_factory: pytest.TempPathFactory, three_versions: Path) -> Iterator[Path]:
    """Return such a project in whose registry version 1 is released."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("released")
        copy_of(three_versions, root).promote(1)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def registry(tmp_path: Path, three_versions: Path) -> Registry:
    """Return a registry with three versions, which the test has for itself."""
    return copy_of(three_versions, tmp_path)


def copy_of(template: Path, root: Path) -> Registry:
    """Return a registry like that of another project, whose models are read where they are."""
    shutil.copyfile(template / "mlflow.db", root / "mlflow.db")
    return Registry(Settings(root=root, home=root / ".trivet", poll_seconds=0.05))
