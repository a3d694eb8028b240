"""What a pinned bento holds, and how its service opens it.

service.py            the service, as BentoML names it
pyproject.toml        the project's own settings
pinned/               the version, as it lies on a host's shelf, and a live state that names it
feature_repo/         feature_store.yaml; only where the version takes features from Feast
wheels/, requirements.txt   what a container installs
"""

from __future__ import annotations

import os
from pathlib import Path

from trivet.live import Shelf
from trivet.serving.worker import Worker
from trivet.settings import Settings, settings_at

PINNED = "pinned"
"""The folder of the version inside a bento."""
FEATURE_REPO = "feature_repo"


def open_pinned(model: str, folder: Path) -> Worker:
    """Open the version that lies in a bento.

    Args:
        model: the registered model's name.
        folder: of the bento's sources.

    Raises:
        BadSetting: a setting's value does not fit.
    """
    return Worker(model, pinned_settings(folder), shelf=Shelf(folder / PINNED, model))


def pinned_settings(folder: Path) -> Settings:
    """Return the settings of a pinned service: its bento's, and above them the environment's.

    The bento itself is never written to, so predictions are logged only where TRIVET_HOME names a
    folder for them. Relative folders in the environment start at the working directory.
    """
    settings = settings_at(folder)
    home = os.environ.get("TRIVET_HOME")
    repo = os.environ.get("TRIVET_FEATURE_REPO")
    return settings.model_copy(
        update={
            "home": Path(home).absolute() if home else folder / PINNED,
            "feature_repo": Path(repo).absolute() if repo else folder / FEATURE_REPO,
            "log_sample": settings.log_sample if home else 0.0,
        }
    )
