"""Local copies go an hour after the live state last named them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from trivet.live import Live, LoadedVersion, Shelf
from trivet.registry.sweep import sweep

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def live(*digests: str) -> Live:
    """Return a live state that names these copies."""
    versions = tuple(LoadedVersion(version=1, digest=digest) for digest in digests)
    return Live(model="toy", champion=1, versions=versions, release="r", since=NOW)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return a shelf with three copies and a download left half done, all of them two hours old."""
    shelf = Shelf(tmp_path, "toy")
    past = (NOW - timedelta(hours=2)).timestamp()
    for name in ("a", "b", "c", ".partial-x"):
        (shelf.versions / name).mkdir(parents=True)
        os.utime(shelf.versions / name, (past, past))
    return shelf


def names(shelf: Shelf) -> set[str]:
    """Return what lies on the shelf."""
    return {folder.name for folder in shelf.versions.iterdir()}


def test_what_is_live_or_was_until_now_stays_and_the_rest_goes(shelf: Shelf) -> None:
    """A worker may still be reading the version that was live a moment ago."""
    sweep(shelf, live("a"), live("b"), NOW)
    assert names(shelf) == {"a", "b"}


def test_a_former_version_goes_an_hour_after_it_was_live(shelf: Shelf) -> None:
    """However long before that it was downloaded."""
    sweep(shelf, live("a"), live("b"), NOW)
    sweep(shelf, live("b"), live("b"), NOW + timedelta(minutes=59))
    assert names(shelf) == {"a", "b"}
    sweep(shelf, live("b"), live("b"), NOW + timedelta(minutes=61))
    assert names(shelf) == {"b"}


def test_nothing_to_sweep_is_no_error(tmp_path: Path) -> None:
    """The first live state may name a folder that is not there."""
    sweep(Shelf(tmp_path, "toy"), None, live("a"), NOW)
