"""The folder that BentoML builds a pinned bento from; `trivet.serving.pinned.loading` shows it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

from trivet.contract import Contract
from trivet.live import Live, LoadedVersion, Shelf
from trivet.serving.pinned.loading import FEATURE_REPO, PINNED
from trivet.settings import Settings, project_table

_ELSEWHERE = ("feature_repo", "home", "service_url")
"""Settings of the project that mean nothing inside a bento."""

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

_SERVICE = Template('''\
"""One version of a model, pinned: it answers without the project and without MLflow."""

from pathlib import Path

import bentoml

from trivet import PinnedService, TrivetService

required = Path(__file__).with_name("requirements.txt").read_text().split()
image = (
    bentoml.images.Image(python_version="$python", lock_python_packages=False)
    .python_packages(*required)
    .build_include("wheels")
)


@bentoml.service(name="$name", service_class=TrivetService, image=image)
class Pinned(PinnedService):
    """Predictions of version $version."""

    model = $model
''')


def bento_name(model: str) -> str:
    """Return a model's name as BentoML takes it.

    >>> bento_name("Flight Delay")
    'flight_delay'
    """
    return re.sub(r"[^a-z0-9_.-]+", "_", model.lower()).strip("_.-") or "model"


def write_version(folder: Path, contract: Contract, version: int, since: datetime) -> None:
    """Say beside a version that was brought to the bento's shelf that it is what answers."""
    digest = contract.digest
    aliases = ("champion",)  # here it is, whatever the registry comes to say
    entry = LoadedVersion(version=version, digest=digest, aliases=aliases)
    live = Live(
        model=contract.model, champion=version, versions=(entry,), release=PINNED, since=since
    )
    Shelf(folder / PINNED, contract.model).write_live(live)


def write_service(
    folder: Path, settings: Settings, model: str, version: int, labels: Mapping[str, str]
) -> None:
    """Write the service, its settings and what BentoML is told of them."""
    facts = {
        "model": json.dumps(model),
        "version": version,
        "name": bento_name(model),
        "python": _PYTHON,
    }
    (folder / "service.py").write_text(_SERVICE.substitute(facts), encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        _settings(project_table(settings.root)), encoding="utf-8"
    )
    bentofile = {
        "service": "service:Pinned",
        "name": bento_name(model),
        "labels": dict(labels),
        "description": f"{model} version {version}, pinned.",
    }
    # JSON is YAML.
    (folder / "bentofile.yaml").write_text(json.dumps(bentofile, indent=2) + "\n", encoding="utf-8")


def write_features(folder: Path, config: str) -> None:
    """Write the configuration of the feature store."""
    file = folder / FEATURE_REPO / "feature_store.yaml"
    file.parent.mkdir()
    file.write_text(config, encoding="utf-8")


def digest_of_folder(folder: Path) -> str:
    """Return a SHA-256 over the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _settings(table: Mapping[str, Any]) -> str:
    # TOML writes such values as JSON does.
    lines = [f"{k} = {json.dumps(v)}" for k, v in sorted(table.items()) if k not in _ELSEWHERE]
    return "\n".join(["[tool.trivet]", *lines, ""])
