"""The feature store's configuration as it goes along with a bento: the same stores, from anywhere.

Only addresses are copied. The registry and the online store stay where the project has them: Feast
takes a copied registry for one whose tables it may tear down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trivet.errors import FeaturesUnavailable
from trivet.settings import Settings

_REGISTRY = "data/registry.db"
_ONLINE = "data/online.db"
"""Where Feast has them if its file does not say."""
_SECRET_NAME = re.compile(r"password|secret|token", re.IGNORECASE)
_SECRET_INSIDE = re.compile(r"://[^/\s:@$]*:[^@\s$]+@|password=(?!\$)", re.IGNORECASE)


def pinned_config(settings: Settings) -> str:
    """Return feature_store.yaml with relative files of registry and online store made absolute.

    Variables (`$VAR`) stay as they are written, for Feast to expand where the bento runs.

    Raises:
        FeaturesUnavailable: there is no such file, or it is not YAML.
    """
    config = _read(settings)
    repo = settings.feature_repo
    registry = config.get("registry", _REGISTRY)
    if isinstance(registry, dict):
        config["registry"] = {**registry, "path": _absolute(repo, registry.get("path", _REGISTRY))}
    else:
        config["registry"] = _absolute(repo, registry)
    online = config.get("online_store", {"type": "sqlite"})
    if isinstance(online, dict) and online.get("type", "sqlite") == "sqlite":
        config["online_store"] = {**online, "path": _absolute(repo, online.get("path", _ONLINE))}
    return str(yaml.safe_dump(config, sort_keys=False))


def online_store_kind(settings: Settings) -> str:
    """Return the type of the online store, as feature_store.yaml names it.

    Raises:
        As `pinned_config`.
    """
    online = _read(settings).get("online_store", {})
    return str(online.get("type", "sqlite") if isinstance(online, dict) else online)


def spelled_out_secrets(config: str) -> tuple[str, ...]:
    """Return the keys below which a configuration seems to hold a password, not a variable."""
    return tuple(dict.fromkeys(_secrets(yaml.safe_load(config), "")))


def _read(settings: Settings) -> dict[str, Any]:
    from feast.utils import get_default_yaml_file_path

    file = Path(get_default_yaml_file_path(settings.feature_repo))
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as err:
        raise FeaturesUnavailable(
            f"{file} cannot be read: {err}",
            hint="Put a feature_store.yaml there, or set TRIVET_FEATURE_REPO.",
        ) from err
    if not isinstance(config, dict):
        raise FeaturesUnavailable(f"{file} does not hold a configuration of Feast.")
    return config


def _absolute(repo: Path, address: Any) -> Any:
    if not isinstance(address, str) or "://" in address or address.startswith("$"):
        return address
    return str((repo / address).resolve())


def _secrets(part: Any, key: str) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _secrets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(part, str) and not part.startswith("$"):
        name = key.rpartition(".")[2]
        if _SECRET_NAME.search(name) or _SECRET_INSIDE.search(part):
            yield key
