"""How a replica is started: `bentoml serve` in the bento's folder, as one would type it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from trivet.errors import BentoMissing
from trivet.gateway.processes import Group
from trivet.settings import Settings

_OVERRIDES = "BENTOML_CONFIG_OVERRIDES"


def require_bento(settings: Settings, model: str) -> Path:
    """Return the folder of a model's bento.

    Raises:
        BentoMissing: there is none.
    """
    bentos = settings.root / "bentos"
    if not (bentos / model / "service.py").is_file():
        known = sorted(file.parent.name for file in bentos.glob("*/service.py"))
        raise BentoMissing(model, tuple(known))
    return bentos / model


def start(  # noqa: PLR0917 - what a replica is
    settings: Settings, model: str, name: str, port: int, workers: int, log: Path, drain_file: Path
) -> Group:
    """Start a replica of a model on loopback."""
    command = [_bentoml(), "serve", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        _OVERRIDES: _with_workers(os.environ, model, workers),
        "TRIVET_ROOT": str(settings.root),
        "TRIVET_REPLICA": name,
        "TRIVET_DRAIN_FILE": str(drain_file.absolute()),
    }
    return Group(command, settings.root / "bentos" / model, log, environment)


def _with_workers(environment: Mapping[str, str], service: str, workers: int) -> str:
    """Return BentoML's configuration with a number of workers, over what the user has set.

    BentoML 1.4 takes it from there alone; `--api-workers` is for services of the old style.
    """
    overrides = json.loads(environment.get(_OVERRIDES) or "{}")
    services = overrides.setdefault("services", {})
    services.setdefault(service, {})["workers"] = workers
    return json.dumps(overrides)


def _bentoml() -> str:
    """Return BentoML's command of this very environment."""
    beside = Path(sys.executable).with_name("bentoml")
    return str(beside) if beside.exists() else shutil.which("bentoml") or "bentoml"
