"""Open the project's Feast store, whatever folder a command was typed in."""

from __future__ import annotations

import warnings
from pathlib import Path

from feast import FeatureStore
from feast.repo_config import load_repo_config
from feast.utils import get_default_yaml_file_path

from trivet.errors import FeaturesUnavailable
from trivet.settings import Settings

# ibis calls DuckDB by a name that DuckDB has since deprecated, once a query.
warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)


def open_store(settings: Settings, project: str | None = None) -> FeatureStore:
    """Open the store that `feature_store.yaml` describes.

    Args:
        settings: name the feature repository.
        project: a Feast project other than the file's. A version is served from the project in its
            contract, even after the file has moved on to the next one.

    Raises:
        FeaturesUnavailable: the file is missing or wrong.
    """
    folder = settings.feature_repo
    try:
        config = load_repo_config(folder, Path(get_default_yaml_file_path(folder)))
    except Exception as err:
        raise FeaturesUnavailable(
            f"Feast cannot use {folder}/feature_store.yaml: {err}",
            hint="Put a feature_store.yaml there, or set TRIVET_FEATURE_REPO.",
        ) from err
    if project is not None:
        config.project = project
    return FeatureStore(repo_path=str(folder), config=config)
