"""A version's own preprocess and postprocess code.

Each is one self-contained file with one function of the file's name. It is stored with the version
and loaded under a module name that holds its digest: two versions never share code by accident, and
a rollback brings back the code that the version was trained with.

A module and its functions refer to each other, so it would outlive its version until the next full
garbage collection, whatever tables it holds. It is emptied instead when the last owner of it is gone.
"""

from __future__ import annotations

import hashlib
import sys
import weakref
from collections import Counter
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


_owners: Counter[str] = Counter()
"""How many there are of each module."""


def load_preprocess(path: Path, owner: object = None) -> Preprocess:
    """Load `preprocess(columns) -> columns` from a version's file.

    Args:
        path: of the file.
        owner: may be used as long as this lives, and no longer; None: for ever.

    Raises:
        VersionCorrupt: it cannot be loaded.
    """
    return cast("Preprocess", _load(path, "preprocess", owner))


def load_postprocess(path: Path, owner: object = None) -> Postprocess:
    """Load `postprocess(output) -> columns` from a version's file; see `load_preprocess`."""
    return cast("Postprocess", _load(path, "postprocess", owner))


def _load(path: Path, name: StepName, owner: object) -> Callable[..., object]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    module = _module(path, f"trivet_{name}_{digest[:16]}")
    _hold(module.__name__, owner)
    function = getattr(module, name, None)
    if not callable(function):
        raise VersionCorrupt(f"{path.name} has no function {name}.")
    return cast("Callable[..., object]", function)


def _hold(name: str, owner: object) -> None:
    _owners[name] += 1
    if owner is not None:
        weakref.finalize(owner, _let_go, name).atexit = False


def _let_go(name: str) -> None:
    _owners[name] -= 1
    if not _owners[name]:
        del _owners[name]
        vars(sys.modules.pop(name)).clear()


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
