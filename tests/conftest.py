"""What holds for all tests."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path, PurePosixPath

# Feast's first materialization in a process, and BentoML's import, tell prometheus_client to keep its
# numbers in files that processes share. It asks at its own import: after this one, tests count alone.
import prometheus_client  # noqa: F401
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from turns import Turns

# Tests run beside each other, and what they fit is small: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_TOGETHER = {
    "tests/contract",
    "tests/contract/backends",
    "tests/integration/registry",
    "tests/tutorial",
}
"""Folders whose files share servers, registries or trained models that are made once a process."""
_CHAPTER = re.compile(r"tests/e2e/test_\d")
"""Files that tell one story of one project, in their order."""
_QUIET = "quiet"
"""Marks tests that measure seconds; folders of this name hold nothing else."""
_LONGEST_QUIET = "tests/e2e/quiet/test_up.py"
"""Two of them run at a time: this one, and the others beside it."""
_ORDER = (
    _CHAPTER,
    re.compile("tests/contract/backends/"),
    re.compile("tests/tutorial/"),
    re.compile("tests/e2e/(?!quiet/)"),
    re.compile("(?!tests/unit/)(?!.*/quiet/)"),
    re.compile("tests/unit/"),
    re.compile(f".*/{_QUIET}/"),
)
"""What takes one process long is begun early; those for which all others wait come in the end."""

_turns = pytest.StashKey[Turns]()
_folder = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


class Together(LoadScopeScheduling):
    """Gives a file's tests to one process, and those of some folders."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        if file.parent.name == _QUIET:
            return _QUIET if str(file) != _LONGEST_QUIET else str(file)
        together = _CHAPTER.match(str(file)) or str(file.parent) in _TOGETHER
        return str(file.parent if together else file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """Divide the tests so that what is expensive is made once."""
    return Together(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Have each process of several take turns with the others."""
    if (given := getattr(config, "workerinput", None)) is not None:
        config.stash[_turns] = Turns(Path(given["turns"]))


def pytest_configure_node(node: WorkerController) -> None:
    """Tell a process where it finds the others."""
    if _folder not in node.config.stash:
        node.config.stash[_folder] = tempfile.TemporaryDirectory(prefix="trivet-turns-")
    node.workerinput["turns"] = node.config.stash[_folder].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no folder behind."""
    if (folder := config.stash.get(_folder, None)) is not None:
        folder.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in an order in which no process has much left when the others have ended."""
    items.sort(key=lambda item: next(n for n, part in enumerate(_ORDER) if part.match(item.nodeid)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Run a test when it is its turn."""
    turns = item.config.stash.get(_turns, None)
    if turns is None:
        return (yield)
    turns.enter(quiet=_is_quiet(item))
    try:
        return (yield)
    finally:
        turns.leave(quiet_again=_is_quiet(nextitem))


def _is_quiet(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker(_QUIET) is not None


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database of a registry without content, to be copied."""
    import templates  # of no use to the unit tests

    return templates.empty_registry(tmp_path_factory)
