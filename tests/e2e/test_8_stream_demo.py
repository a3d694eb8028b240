"""`make stream-demo`, as typed, and ended by Ctrl-C: a day replayed through real streams."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from journey import Project

from .conftest import BENTO
from .registry import Registry

LINES = 2


def test_the_replayed_day_is_predicted_and_what_was_streamed_equals_the_batch(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    """Stopped in the middle of it, it says what came of it, and leaves nothing behind."""
    versions, aliases = registry.versions, registry.aliases
    # A home of its own: else it would have the follower of the other tests' service.
    env = project.env | {"TRIVET_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [sys.executable, "stream_demo.py", "--seconds", "240", "--speed", "2000"],
        cwd=project.root / BENTO,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    with demo:
        assert demo.stderr is not None
        told = ""
        while len(re.findall(r"known: accuracy", told)) < LINES:
            line = demo.stderr.readline()
            assert line, told
            told += line
        demo.send_signal(signal.SIGINT)
        told += demo.stderr.read()
    assert demo.returncode == 0, told
    for view in ("airport_weather", "airport_recent", "aircraft_last_leg", "carrier_recent"):
        (row,) = re.findall(rf"{view} +(\d+) +(\d+) +(\d+) +✓", told)
        assert len(set(row)) == 1
        assert int(row[0]) > 0
    assert re.search(r"always the most frequent +0\.\d+ +0\.\d+ +0\.500", told)
    assert list(tmp_path.glob("trivet-stream-demo-*")) == []
    assert (registry.versions, registry.aliases) == (versions, aliases)
