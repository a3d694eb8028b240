"""A version counts with what is known of its size, and is refused where that is too much."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from trivet.contract import Runtime
from trivet.errors import VersionTooLarge
from trivet.serving.room import Room, measured, size_of_files
from unit.fakes import shop

MIB = 2**20


@pytest.mark.parametrize(
    ("runtime", "size"),
    [(Runtime(kind="onnx"), 120), (Runtime(kind="pyfunc", reason="a test"), 320)],
)
def test_the_files_that_are_loaded_count(tmp_path: Path, runtime: Runtime, size: int) -> None:
    """The other runtime's lie beside them and are not loaded."""
    (tmp_path / "model.onnx").write_bytes(b"o" * 100)
    (tmp_path / "model.skops").write_bytes(b"s" * 300)
    (tmp_path / "preprocess.py").write_bytes(b"p" * 20)
    files = dict.fromkeys(("model.onnx", "model.skops", "preprocess.py", "missing.py"), "")
    assert size_of_files(tmp_path, shop(files=files, runtime=runtime)) == size


_GROWS = """
import numpy as np

from trivet.serving.room import measured

with measured() as grown:
    kept = np.ones(40 * 2**20, dtype=np.uint8)
print(grown.size)
"""


def test_what_the_process_grows_by_is_measured() -> None:
    """In a process of its own: this one may give back what earlier tests had, meanwhile."""
    done = subprocess.run([sys.executable, "-c", _GROWS], check=True, capture_output=True)
    assert 35 * MIB < int(done.stdout) < 60 * MIB


def test_libraries_that_come_in_with_a_version_are_not_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first pyfunc brings MLflow and scikit-learn, which stay."""
    with measured() as grown:
        for number in range(3):
            monkeypatch.setitem(sys.modules, f"library_{number}", ModuleType("library"))
        kept = np.ones(40 * MIB, dtype=np.uint8)
    assert grown.size == 0
    assert kept.all()


def test_what_does_not_fit_is_told_with_all_sizes() -> None:
    """And with the setting."""
    room = Room(left=40 * MIB, most=100 * MIB)
    room.require(3, 40 * MIB)
    with pytest.raises(VersionTooLarge) as caught:
        room.require(3, 41 * MIB)
    assert str(caught.value) == (
        "Version 3 takes 41.0 MiB of memory, and of the 100.0 MiB for loaded versions 40.0 MiB are "
        "left. TRIVET_VERSIONS_BYTES is that limit; it holds for each worker."
    )
