"""A version's own preprocess and postprocess code.

Each is one self-contained file with one function of the file's name. It is stored with the version
and loaded under a module name that holds its digest: two versions never share code by accident, and
a rollback brings back the code that the version was trained with.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import numpy.typing as npt

from trivet.columns import Columns
from trivet.errors import VersionCorrupt
from trivet.runtime.predictor import Output

StepName = Literal["preprocess", "postprocess"]
PredictionColumns = Mapping[str, npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]]
"""What postprocess returns: n values a field; a mapping of arrays becomes a nested object."""

Preprocess = Callable[[Columns], Columns]
Postprocess = Callable[[Output], PredictionColumns]


def load_preprocess(path: Path) -> Preprocess:
    """Load `preprocess(columns) -> columns` from a version's file."""
    return cast("Preprocess", _load(path, "preprocess"))


def load_postprocess(path: Path) -> Postprocess:
    """Load `postprocess(output) -> columns` from a version's file."""
    return cast("Postprocess", _load(path, "postprocess"))


def _load(path: Path, name: StepName) -> Callable[..., object]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    module = _module(path, f"trivet_{name}_{digest[:16]}")
    function = getattr(module, name, None)
    if not callable(function):
        raise VersionCorrupt(f"{path.name} has no function {name}.")
    return cast("Callable[..., object]", function)


def _module(path: Path, name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    # Not by the import system: its bytecode files go by a source's size and second, and would be
    # written into a version's folder.
    module = ModuleType(name)
    module.__file__ = str(path)
    # Before it runs, as `import` does: a dataclass looks its own module up.
    sys.modules[name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102
    except Exception as err:
        del sys.modules[name]
        raise VersionCorrupt(
            f"{path.name} fails when it is loaded: {type(err).__name__}: {err}",
            hint="It must be self-contained: only the standard library and installed packages.",
        ) from err
    return module
