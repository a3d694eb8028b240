"""What stands beside requests gives way to them, also where it leads a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trivet import priority

SESSION = Path("/proc/self/autogroup")
BUSY = """
import time
from trivet.priority import give_way
if {way}: give_way()
print("ready", flush=True); input()
until, before = time.monotonic() + 1.5, time.process_time()
while time.monotonic() < until: pass
print(time.process_time() - before)
"""
SAID = f"from trivet.priority import give_way; give_way(); print(open({str(SESSION)!r}).read())"


def busy(core: int, *, way: bool) -> subprocess.Popen[str]:
    """Start what will take all of a core that it can get, as the leader of a session."""
    started = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(way=way)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.sched_setaffinity(started.pid, {core})
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


@pytest.mark.skipif(sys.platform != "linux", reason="shares of a core are set as Linux has them")
def test_a_process_that_gave_way_takes_less_of_a_core_than_one_that_did_not() -> None:
    """A third: nice 5 alone would be half where the kernel shares out among sessions first."""
    core = max(os.sched_getaffinity(0))
    both = [busy(core, way=False), busy(core, way=True)]
    for one in both:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    first, second = (float(one.communicate()[0]) for one in both)
    assert second < 0.6 * first


@pytest.mark.skipif(not SESSION.exists(), reason="this kernel does not share out among sessions")
@pytest.mark.parametrize(("leads", "said"), [(True, "nice 5"), (False, "nice 0")])
def test_a_process_lowers_its_session_only_where_it_leads_it(*, leads: bool, said: str) -> None:
    """Else it would lower whoever has started it."""
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SAID!r}])"
    shown = subprocess.run(
        [sys.executable, "-c", SAID if leads else inner],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert shown.stdout.strip().endswith(said)


def test_a_session_that_may_not_be_lowered_yet_is_lowered_a_moment_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernel refuses a change that comes too soon after another one, whoever made that."""
    refusals = [BlockingIOError(), BlockingIOError()]

    class Busy(type(tmp_path)):  # type: ignore[misc]
        """A file that refuses twice."""

        def write_text(self, data: str, *args: object, **kwargs: object) -> int:
            """Refuse, or write."""
            if refusals:
                raise refusals.pop()
            return int(super().write_text(data, *args, **kwargs))

    monkeypatch.setattr(priority, "_SESSION", Busy(tmp_path / "autogroup"))
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    priority.give_way()
    assert (tmp_path / "autogroup").read_text() == "5"
