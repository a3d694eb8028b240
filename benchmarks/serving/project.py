"""A project of its own for a benchmark, on one online store: laid out, trained, released.

    project = Project.make(folder, online=SQLITE)
    project.run("trivet", "status")

Everything is done by the commands that a user types; only the training runs a module of this package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.serving.forest import ENTITIES, FEATURES, split

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).resolve().parent / "template"
SQLITE = "type: sqlite\n  path: ../data/online.db"

_TRAIN = (sys.executable, "-m", "benchmarks.serving.train")
_NOT_INHERITED = ("TRIVET_", "MLFLOW_", "FEAST_", "BENTOML_")
_YAML = """\
project: benchmark
provider: local
registry: ../data/registry.db
online_store:
  {online}
offline_store:
  type: duckdb
entity_key_serialization_version: 3
"""


def redis_store(port: int) -> str:
    """Return the online store's part of feature_store.yaml for a Redis on loopback."""
    return f'type: redis\n  connection_string: "127.0.0.1:{port}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder with definitions, bentos, and what was made from them."""

    root: Path

    @classmethod
    def make(
        cls,
        root: Path,
        *,
        online: str,
        features: int = FEATURES,
        entities: int = ENTITIES,
        models: tuple[str, ...] = ("forest", "forest_by_key"),
    ) -> Self:
        """Lay it out, bring the entities' features online, and train and release the models.

        Args:
            root: a folder that is not there yet.
            online: the online store's part of feature_store.yaml.
            features: of a row, at least 5.
            entities: users, and as many items.
            models: those of `train` to register; each becomes the champion.
        """
        project = cls(root=root.resolve())
        project._lay_out(online, features)
        shape = ["--features", str(features), "--entities", str(entities)]
        project.run(*_TRAIN, "data", *shape)
        project.run("trivet", "apply")
        project.run("trivet", "materialize")
        if models:
            project.release(*models, shape=shape)
        return project

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands: this one, free of the settings of the machine."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
        path = [str(Path(sys.executable).parent), os.environ["PATH"]]
        return kept | {
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(REPOSITORY),
            "BENTOML_HOME": str(self.root / ".bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.root / 'mlflow.db'}",
            "DO_NOT_TRACK": "true",
        }

    @property
    def artifacts(self) -> Path:
        """The folder of the model in other formats, and of the entities' rows."""
        return self.root / "artifacts"

    def release(self, *models: str, shape: Sequence[str] = ()) -> None:
        """Train models, register each, and make it the champion."""
        self.run(*_TRAIN, "models", *models, *shape)
        for model in models:
            self.run("trivet", "promote", model, "1")

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end, and return its standard output.

        Raises:
            SystemExit: it failed, with what it printed.
        """
        done = subprocess.run(  # noqa: S603 - commands of this package
            command,
            cwd=self.root,
            env=self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"`{' '.join(command)}` failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def _lay_out(self, online: str, features: int) -> None:
        shutil.copytree(
            TEMPLATE, self.root, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        table = '[project]\nname = "benchmark"\n\n[tool.trivet]\nfeature_repo = "feature_repo"\n'
        (self.root / "pyproject.toml").write_text(table)
        repo = self.root / "feature_repo"
        (repo / "feature_store.yaml").write_text(_YAML.format(online=online))
        (repo / "shape.json").write_text(json.dumps(split(features)))
