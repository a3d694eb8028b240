"""What holds for all tests."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

# Feast's first materialization in a process, and BentoML's import, tell prometheus_client to keep its
# numbers in files that processes share. It asks at its own import: after this one, tests count alone.
import prometheus_client  # noqa: F401
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Tests run beside each other, and what they fit is small: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_TOGETHER = {
    "tests/contract",
    "tests/contract/backends",
    "tests/integration/registry",
    "tests/tutorial",
}
"""Folders whose files share servers, registries or trained models that are made once a process."""


class Together(LoadScopeScheduling):
    """Gives a file's tests to one process, and those of some folders."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        return str(file.parent if str(file.parent) in _TOGETHER else file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """Divide the tests so that what is expensive is made once."""
    return Together(config, log)


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database of a registry without content, to be copied."""
    import templates  # of no use to the unit tests

    return templates.empty_registry(tmp_path_factory)
