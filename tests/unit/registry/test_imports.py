"""What importing the registry costs."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "claim client download failures flavor follower ledger plan probe "
    "pyfunc register release shelve sweep versions"
)


def test_no_module_of_the_registry_imports_mlflow_by_itself() -> None:
    """So that a command that only prints its usage, and a worker on ONNX, do not pay for it."""
    script = (
        "import sys, importlib\n"
        f"for name in {MODULES.split()!r}: importlib.import_module('trivet.registry.' + name)\n"
        "heavy = {'mlflow', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
