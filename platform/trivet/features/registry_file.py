"""The file of a file registry, replaced as a whole.

Feast empties the file and then writes it: a reader in between finds a registry without a single
view, and a process that is killed there leaves one.
"""

from __future__ import annotations

import os
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.infra.registry.file import FileRegistryStore

from trivet.clock import system_clock


def replace_whole(store: FeatureStore) -> None:
    """Have a store on a file registry write it beside and rename it; any other is left alone."""
    kept = getattr(store.registry, "_registry_store", None)
    if isinstance(kept, FileRegistryStore):
        # Feast chooses the class by the registry's address alone; this is the step to replace.
        path = Path(kept._filepath)  # noqa: SLF001
        kept._write_registry = partial(_write, path.resolve())  # type: ignore[method-assign]  # noqa: SLF001


def _write(path: Path, registry: Any) -> None:
    registry.version_id = str(uuid.uuid4())
    registry.last_updated.FromDatetime(system_clock())
    path.parent.mkdir(exist_ok=True)
    partial_file = path.with_name(f".{path.name}.{os.getpid()}")
    with partial_file.open("wb") as out:
        out.write(registry.SerializeToString())
        out.flush()
        os.fsync(out.fileno())
    if path.exists():
        shutil.copymode(path, partial_file)
    partial_file.replace(path)
