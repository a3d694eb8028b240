"""A version's own code is loaded by its content, and by nothing else."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

from trivet.errors import VersionCorrupt
from trivet.runtime.steps import load_postprocess, load_preprocess


class Owner:
    """Whoever uses a step."""


def write(folder: Path, code: str, name: str = "preprocess") -> Path:
    """Write a step's file as a version's folder has it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(code)
    return path


def test_two_versions_never_share_code(tmp_path: Path) -> None:
    """Each keeps its own, though the files have one name and both are loaded."""
    first = load_preprocess(write(tmp_path / "1", "SCALE = 1\ndef preprocess(c): return SCALE\n"))
    second = load_preprocess(write(tmp_path / "2", "SCALE = 2\ndef preprocess(c): return SCALE\n"))
    assert (first({}), second({})) == (1, 2)
    assert first.__module__ != second.__module__


def test_the_same_code_is_loaded_once(tmp_path: Path) -> None:
    """Two versions of equal code are equal."""
    code = "def preprocess(columns): return columns\n"
    first, second = (load_preprocess(write(tmp_path / n, code)) for n in ("1", "2"))
    assert first is second
    assert first.__module__.startswith("trivet_preprocess_")


def test_a_file_that_changes_is_other_code(tmp_path: Path) -> None:
    """As in a notebook, where an author tries things out."""
    path = write(tmp_path, "def preprocess(columns): return 'old'\n")
    assert load_preprocess(path)({}) == "old"
    path.write_text("def preprocess(columns): return 'new'\n")
    assert load_preprocess(path)({}) == "new"


def test_code_lives_as_long_as_its_last_owner(tmp_path: Path) -> None:
    """At once, and not at the next full garbage collection: a worker under load has none."""
    code = "class Table:\n    pass\nTABLE = Table()\ndef preprocess(c): return TABLE\n"
    path = write(tmp_path, code)
    gc.disable()
    try:
        owners = [Owner(), Owner()]
        first, second = (load_preprocess(path, owner) for owner in owners)
        table, name = weakref.ref(first({})), first.__module__
        assert second({}) is table()
        owners.pop()
        assert first({}) is table()
        assert name in sys.modules
        owners.clear()
        assert table() is None
        assert name not in sys.modules
    finally:
        gc.enable()


def test_code_without_an_owner_stays(tmp_path: Path) -> None:
    """Whoever trains may keep the function."""
    path = write(tmp_path, "SCALE = 3\ndef preprocess(c): return SCALE\n")
    kept = load_preprocess(path)
    owner = Owner()
    assert load_preprocess(path, owner) is kept
    del owner
    assert kept({}) == 3


def test_code_that_is_loaded_again_is_as_new(tmp_path: Path) -> None:
    """A version comes back after it was dropped."""
    path = write(tmp_path, "CALLS = []\ndef preprocess(c): CALLS.append(c); return len(CALLS)\n")
    for _ in range(2):
        owner = Owner()
        assert load_preprocess(path, owner)({}) == 1
        del owner


def test_code_may_declare_a_dataclass(tmp_path: Path) -> None:
    """Which looks up the module that it is declared in, while that is being loaded."""
    code = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Scale:\n"
        "    by: float = 2.0\n"
        "def postprocess(output): return Scale().by\n"
    )
    assert load_postprocess(write(tmp_path, code, "postprocess"))({}) == 2.0


def test_a_file_without_its_function_is_refused(tmp_path: Path) -> None:
    """The sentence names the file and the function."""
    with pytest.raises(VersionCorrupt, match=r"preprocess\.py has no function preprocess"):
        load_preprocess(write(tmp_path, "def prepare(columns): return columns\n"))


@pytest.mark.parametrize("code", ["from sources import read\n", "1 / 0\n", "def preprocess(:\n"])
def test_a_file_that_cannot_be_loaded_is_refused(tmp_path: Path, code: str) -> None:
    """It must be self-contained; and nothing half loaded stays behind."""
    before = set(sys.modules)
    with pytest.raises(VersionCorrupt, match="fails when it is loaded") as caught:
        load_preprocess(write(tmp_path, code))
    assert "self-contained" in str(caught.value)
    assert not {name for name in set(sys.modules) - before if name.startswith("trivet_")}


def test_a_file_of_its_folder_is_not_importable(tmp_path: Path) -> None:
    """What lies beside it now may be gone when the version is rolled back to."""
    write(tmp_path, "VALUE = 1\n", "beside")
    with pytest.raises(VersionCorrupt, match="No module named 'beside'"):
        load_preprocess(write(tmp_path, "import beside\ndef preprocess(c): return c\n"))
