"""Where the workers of a service count: a folder for each service that runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer


def count_apart() -> None:
    """Keep the metrics of a service that starts in this process apart from those of others.

    BentoML has one folder for all services of a user, and empties it whenever one of them starts: the
    workers of the others would go on counting in files that nobody reads any more.
    """
    folder = Path(BentoMLContainer.bentoml_home.get(), "trivet_metrics")
    _sweep(folder)
    # BentoML makes it in the process that starts the workers, and tells them.
    BentoMLContainer.prometheus_multiproc_dir.set(str(folder / str(os.getpid())))


def _sweep(folder: Path) -> None:
    """Remove what services have left that run no more."""
    for left in folder.glob("[0-9]*"):
        try:
            os.kill(int(left.name), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            continue
