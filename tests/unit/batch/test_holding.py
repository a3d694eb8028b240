"""What killed jobs leave in the project's home is swept; what somebody holds is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trivet.batch.holding import holding, workspace

CODE = """
import sys
from pathlib import Path
from trivet.batch.holding import workspace

with workspace(Path(sys.argv[1])) as folder:
    (folder / "spill.tmp").write_bytes(b"much")
    print(folder, flush=True)
    sys.stdin.read()
"""


def started(home: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process with a workspace of its own."""
    command = [sys.executable, "-c", CODE, str(home)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_next_start_sweeps_the_workspaces_of_the_killed_and_no_others(tmp_path: Path) -> None:
    """One that is at work keeps its own; each takes it away at its end."""
    living, its_own = started(tmp_path)
    killed, left = started(tmp_path)
    with living, killed:
        killed.kill()
        killed.wait()
        assert (left / "spill.tmp").exists()
        (tmp_path / "batch-1234").mkdir()
        with workspace(tmp_path) as mine:
            assert not left.parent.exists()
            assert not (tmp_path / "batch-1234").exists()
            assert (its_own / "spill.tmp").exists()
            assert mine.is_dir()
        assert living.communicate("", timeout=60) is not None
    assert not list(tmp_path.glob("batch-*"))


def test_copies_of_versions_stay_while_they_are_held_or_among_the_last_used(tmp_path: Path) -> None:
    """The folder's own time says when it was used; half-brought ones go."""
    copies = [tmp_path / f"{number}" for number in range(6)]
    for number, copy in enumerate(copies):
        copy.mkdir()
        (copy / "model.onnx").write_bytes(b"model")
        os.utime(copy, (number, number))
    (tmp_path / ".partial-x").mkdir()
    with holding(copies[0]):
        assert _left(tmp_path) == ["0", "4", "5"]
        copies[3].mkdir()
        with holding(copies[3]):
            pass
        copies[2].mkdir()
        with holding(copies[2]):
            pass
        os.utime(copies[0], (0, 0))
        copies[1].mkdir()
        with holding(copies[1]):
            assert _left(tmp_path) == ["0", "1", "2", "3"]
    with holding(copies[1]):
        assert _left(tmp_path) == ["1", "2", "3"]
    assert not (tmp_path / ".partial-x").exists()


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())
