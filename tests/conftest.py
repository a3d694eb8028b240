"""What holds for all tests."""

from __future__ import annotations

import os
from pathlib import Path

# Feast's first materialization in a process, and BentoML's import, tell prometheus_client to keep its
# numbers in files that processes share. It asks at its own import: after this one, tests count alone.
import prometheus_client  # noqa: F401
import pytest

# Tests run beside each other, and what they fit is small: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_FOLDERS = {"contract", "tutorial", "registry"}
"""Their files share servers, trained models or registries that are made once a process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares expensive fixtures, where tests are given to several processes."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_together(item.path)))


def _together(file: Path) -> str:
    whole = file.parent.name in _FOLDERS and "unit" not in file.parts
    return str(file.parent if whole else file)
