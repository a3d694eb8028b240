"""How much memory a loaded version takes, and whether that is still to be had.

Nobody can say beforehand what a model will take. Known beforehand is the size of the files that it is
loaded from, which is the least; known afterwards is what the process has grown by meanwhile. A version
counts with the larger of the two.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trivet.contract import Contract
from trivet.errors import VersionTooLarge

_PAGES = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_OWN_MODULES = 2
"""A version's preprocess and postprocess; more than these are libraries, and not the version's."""


@dataclass(slots=True, kw_only=True)
class Room:
    """What a version that is about to be loaded may take."""

    left: int
    """Bytes."""
    most: int
    """Bytes for all loaded versions together."""

    def require(self, version: int, size: int) -> None:
        """See that a version fits.

        Raises:
            VersionTooLarge: it does not.
        """
        if size > self.left:
            raise VersionTooLarge(version, size, self.left, self.most)


@dataclass(slots=True)
class Grown:
    """By how many bytes the process has grown."""

    size: int = 0


def size_of_files(folder: Path, contract: Contract) -> int:
    """Return the bytes of the files that a worker loads of a version; a missing one has none."""
    onnx = contract.runtime.kind == "onnx"
    loaded = [
        folder / file
        for file in contract.files
        if file.endswith(".py") or (file == "model.onnx") == onnx
    ]
    return sum(file.stat().st_size for file in loaded if file.is_file())


@contextmanager
def measured() -> Iterator[Grown]:
    """Say by how much the process grows in the block; by nothing if libraries came in with it."""
    grown, modules, before = Grown(), len(sys.modules), _resident()
    yield grown
    if len(sys.modules) - modules <= _OWN_MODULES:
        grown.size = max(0, _resident() - before)


def _resident() -> int:
    try:
        return int(_PAGES.read_text().split()[1]) * _PAGE_BYTES
    except OSError:  # not on Linux: what files say must do
        return 0
