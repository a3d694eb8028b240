"""The code that a service's own bento carries, where it may run no other.

Whoever can register a version could otherwise have every service run code of theirs: a version brings
its preprocess and postprocess along, and MLflow's flavors name what loads a model.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from trivet.contract import parse_contract
from trivet.errors import CodeNotCarried, VersionCorrupt
from trivet.live import CONTRACT
from trivet.runtime.pipeline import POSTPROCESS, PREPROCESS


class CarriedCode:
    """The digests of every Python file in a service's folder."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the service; files below it count wherever they lie."""
        self._folder = folder
        self._digests = {_digest(file) for file in folder.rglob("*.py")}

    def require(self, version: Path) -> None:
        """See that a version runs nothing but ONNX Runtime and code that is carried here.

        Args:
            version: the folder of its local copy; nothing in it has been run yet.

        Raises:
            CodeNotCarried: it would run other code.
            VersionCorrupt, ContractUnreadable: it has no contract that can be read.
        """
        try:
            contract = parse_contract((version / CONTRACT).read_bytes())
        except OSError as err:
            raise VersionCorrupt(f"There is no {CONTRACT}: {err}") from err
        if contract.runtime.kind != "onnx":
            raise CodeNotCarried("MLflow's pyfunc, which runs what its MLmodel names", self._folder)
        for step in (PREPROCESS, POSTPROCESS):
            file = version / step
            if file.exists() and _digest(file) not in self._digests:
                raise CodeNotCarried(f"a {step.name} (SHA-256 {_digest(file)[:12]})", self._folder)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
