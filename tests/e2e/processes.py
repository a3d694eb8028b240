"""What the processes of a project are and do, seen from outside."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from journey import Project
from waiting import wait_or_kill

_RECORDER = '''
"""Write down the top-level packages that this process imports, one file a process."""

import os
import sys

_seen = set()


def _record(event, arguments):
    if event != "import":
        return
    entry = os.getpid(), arguments[0].partition(".")[0]
    if entry not in _seen:
        _seen.add(entry)
        file = os.open(f"{os.environ['IMPORTS']}/{entry[0]}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{entry[1]}\\n".encode())
        os.close(file)


sys.addaudithook(_record)
'''


class Imports:
    """What each process has imported, told by Python's own audit events.

    Python runs a `sitecustomize` that it finds on its path at the start of every process.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: a new one, for the recorder and what it records."""
        self._records = folder / "records"
        self._records.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(_RECORDER)
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.env = {"PYTHONPATH": os.pathsep.join(path), "IMPORTS": str(self._records)}

    def of(self, pid: int) -> set[str]:
        """Return the top-level packages that a process has tried to import so far."""
        return set((self._records / str(pid)).read_text().split())


def left_over(project: Project) -> list[str]:
    """Return what still runs of a project after a while, ended now: by its id and command."""
    found = [process for process in psutil.process_iter() if _belongs(process, project)]
    return wait_or_kill(found, within=10)


def _belongs(process: psutil.Process, project: Project) -> bool:
    # Every command of a project, and whatever it starts, has this variable of the project's own.
    name = "BENTOML_HOME"
    try:
        return process.environ().get(name) == project.env[name]
    except psutil.Error:
        return False
