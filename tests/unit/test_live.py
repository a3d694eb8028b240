"""The live state is replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from trivet.live import Shelf
from unit.fakes import live


def test_before_the_first_release_nothing_is_live(tmp_path: Path) -> None:
    """A service starts all the same, and is not ready."""
    assert Shelf(tmp_path, "shop").read_live() is None


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """By another process, as a rule."""
    Shelf(tmp_path, "shop").write_live(live(2, 1, refused="not now"))
    assert Shelf(tmp_path, "shop").read_live() == live(2, 1, refused="not now")


def test_models_do_not_share_a_shelf(tmp_path: Path) -> None:
    """Two services may run on one host."""
    Shelf(tmp_path, "shop").write_live(live(1))
    assert Shelf(tmp_path, "cafe").read_live() is None
    assert Shelf(tmp_path, "cafe").path("0a") != Shelf(tmp_path, "shop").path("0a")


def test_the_old_state_stays_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves a state that can be read."""
    shelf = Shelf(tmp_path, "shop")
    shelf.write_live(live(1))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            shelf.write_live(live(2))
    assert shelf.read_live() == live(1)


def test_a_reader_that_has_opened_the_old_state_reads_it_to_the_end(tmp_path: Path) -> None:
    """The file is replaced, never written in place."""
    shelf = Shelf(tmp_path, "shop")
    shelf.write_live(live(1))
    with shelf.live_file.open() as reading:
        shelf.write_live(live(2))
        assert live(1).model_validate_json(reading.read()) == live(1)
    assert [path.name for path in shelf.folder.iterdir()] == ["live.json"]
