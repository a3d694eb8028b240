"""A worker answers with what is live, and never with less than before."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trivet.errors import (
    Difference,
    FeaturesUnavailable,
    NoChampion,
    VersionCorrupt,
    VersionNotLoaded,
)
from trivet.live import Contact, FeatureCheck, LoadedVersion, Shelf
from trivet.serving.loaded import Version
from trivet.serving.room import Room
from trivet.serving.slot import Slot
from unit.fakes import NOON, filled_slot, live, shop, version
from waiting import wait_for


class Loader:
    """Loads any version that is not said to be broken, and remembers what it loaded."""

    def __init__(self) -> None:
        """Nothing is broken at first."""
        self.loaded: list[int] = []
        self.tried: list[int] = []
        self.sizes: dict[int, int] = {}
        self.on_load: Callable[[int], object] = lambda _: None
        self.broken: dict[int, Exception] = {}

    def __call__(self, entry: LoadedVersion, room: Room) -> Version:
        """Load one."""
        if entry.version in self.broken:
            raise self.broken[entry.version]
        self.tried.append(entry.version)
        size = self.sizes.get(entry.version, 1)
        room.require(entry.version, size)
        self.loaded.append(entry.version)
        self.on_load(entry.version)
        made = version(entry.version, contract=shop())
        made.digest, made.size = entry.digest, size
        return made


@pytest.fixture
def loader() -> Loader:
    """Return a loader."""
    return Loader()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return an empty shelf."""
    return Shelf(tmp_path, "shop")


def test_before_the_first_release_there_is_no_champion(shelf: Shelf, loader: Loader) -> None:
    """The sentence says how to release one."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    slot.look()
    with pytest.raises(NoChampion, match="trivet promote shop"):
        slot.champion()
    assert slot.describe() == {
        "model": "shop",
        "champion": None,
        "versions": [],
        "left_out": {},
        "bytes": 0,
        "refused": None,
        "registry": None,
        "features": None,
        "canary": None,
        "shadow": None,
    }


def test_a_release_is_swapped_in_and_told(shelf: Shelf, loader: Loader) -> None:
    """A version that is loaded already is not loaded again."""
    swaps: list[int] = []
    slot = Slot(shelf, loader, on_swap=swaps.append)
    shelf.write_live(live(1))
    slot.look()
    shelf.write_live(live(2, 1))
    slot.look()
    assert slot.champion().number == 2
    assert loader.loaded == [1, 2]
    assert swaps == [1, 2]
    assert slot.describe() == {
        "model": "shop",
        "champion": 2,
        "versions": [1, 2],
        "left_out": {},
        "bytes": 2,
        "refused": None,
        "registry": None,
        "features": None,
        "canary": None,
        "shadow": None,
    }


def test_a_request_keeps_the_version_that_it_began_with(shelf: Shelf, loader: Loader) -> None:
    """A swap takes nothing away from it."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1))
    slot.look()
    begun = slot.loaded
    shelf.write_live(live(2))
    slot.look()
    assert begun.champion is not None
    assert begun.champion.number == 1
    assert sorted(slot.loaded.by_number) == [2]


def test_an_unchanged_state_is_not_read_again(
    shelf: Shelf, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs one call to the system."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1))
    slot.look()
    monkeypatch.setattr(Shelf, "read_live", lambda _: pytest.fail("it was read"))
    slot.look()


def test_a_version_that_was_registered_anew_is_loaded_anew(shelf: Shelf, loader: Loader) -> None:
    """The number is the same, the digest is not."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1))
    slot.look()
    other = LoadedVersion(version=1, digest="other")
    shelf.write_live(live(1).model_copy(update={"versions": (other,)}))
    slot.look()
    assert slot.champion().digest == "other"


@pytest.mark.parametrize(
    ("error", "says"),
    [(VersionCorrupt("model.onnx is missing."), "model.onnx"), (KeyError("x"), "KeyError: 'x'")],
)
def test_the_old_champion_stays_when_the_new_one_cannot_be_loaded(
    shelf: Shelf, loader: Loader, error: Exception, says: str
) -> None:
    """And the reason is shown."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1))
    slot.look()
    loader.broken[2] = error
    shelf.write_live(live(2, 1))
    slot.look()
    assert slot.champion().number == 1
    assert slot.refused is not None
    assert slot.refused.startswith("version 2: ")
    assert says in slot.refused


def test_a_version_that_could_not_be_loaded_is_tried_again(
    shelf: Shelf, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in the way may have passed, though the live state is the same."""
    monkeypatch.setattr("trivet.serving.slot._RETRY_SECONDS", 0.0)
    loader.broken[1] = FeaturesUnavailable("The feature registry is down.")
    shelf.write_live(live(1))
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    slot.look()
    with pytest.raises(NoChampion):
        slot.champion()
    loader.broken.clear()
    slot.look()
    assert slot.champion().number == 1
    assert slot.refused is None


def test_a_champion_without_a_copy_is_refused(shelf: Shelf, loader: Loader) -> None:
    """A state that was written by hand does not stop a worker."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1).model_copy(update={"champion": 9}))
    slot.look()
    assert slot.refused == "version 9: has no copy"


def test_another_version_that_cannot_be_loaded_is_left_out(shelf: Shelf, loader: Loader) -> None:
    """The champion answers all the same; the other's routes say that it is not here."""
    loader.broken[1] = VersionCorrupt("model.onnx is missing.")
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(2, 1))
    slot.look()
    assert slot.champion().number == 2
    with pytest.raises(VersionNotLoaded, match="alias 'v1'"):
        slot.alias("v1")


def test_a_champion_that_is_loaded_already_does_not_wait_for_the_others(
    shelf: Shelf, loader: Loader
) -> None:
    """A rollback is a pointer, though the version before that one has to be loaded."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(3, 2))
    slot.look()
    seen: list[int] = []
    loader.on_load = lambda _: seen.append(slot.champion().number)
    shelf.write_live(live(2, 1))
    slot.look()
    assert seen == [2]
    assert sorted(slot.loaded.by_number) == [1, 2]


def test_versions_get_memory_in_the_order_of_the_live_state(
    shelf: Shelf, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    """The champion first; one that is too large is left out, and a smaller one after it is not."""
    loader.sizes = {3: 40, 2: 30, 7: 50, 5: 20}
    slot = Slot(shelf, loader, on_swap=lambda _: None, most_bytes=100)
    shelf.write_live(live(3, 2, 7, 5))
    slot.look()
    state = slot.describe()
    assert (state["versions"], state["bytes"]) == ([2, 3, 5], 90)
    assert list(state["left_out"]) == ["7"]
    assert "TRIVET_VERSIONS_BYTES" in state["left_out"]["7"]
    assert "version 7 is not loaded: Version 7 takes" in caplog.text
    with pytest.raises(VersionNotLoaded, match="loaded versions: 2, 3, 5"):
        slot.version("7")


def test_a_more_important_version_takes_the_memory_of_a_less_important_one(
    shelf: Shelf, loader: Loader
) -> None:
    """Version 5 had an alias and room; the new champion and the one before it come first."""
    loader.sizes = {1: 40, 2: 40, 5: 50}
    slot = Slot(shelf, loader, on_swap=lambda _: None, most_bytes=100)
    shelf.write_live(live(1, 5))
    slot.look()
    assert sorted(slot.loaded.by_number) == [1, 5]
    shelf.write_live(live(2, 1, 5))
    slot.look()
    assert sorted(slot.loaded.by_number) == [1, 2]
    assert list(slot.left_out) == [5]
    assert loader.tried == [1, 5, 2]
    shelf.write_live(live(2, 1))
    slot.look()
    assert slot.left_out == {}


def test_a_champion_that_is_too_large_is_refused_and_not_tried_again(
    shelf: Shelf, loader: Loader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The old one stays; it does not become smaller by trying."""
    monkeypatch.setattr("trivet.serving.slot._RETRY_SECONDS", 0.0)
    loader.sizes = {1: 40, 2: 101}
    slot = Slot(shelf, loader, on_swap=lambda _: None, most_bytes=100)
    shelf.write_live(live(1))
    slot.look()
    shelf.write_live(live(2, 1))
    slot.look()
    slot.look()
    assert slot.champion().number == 1
    assert slot.refused is not None
    assert "TRIVET_VERSIONS_BYTES" in slot.refused
    assert loader.tried == [1, 2]
    (said,) = (one for one in caplog.records if one.levelname == "ERROR")
    assert "not released here: version 2" in said.getMessage()


def test_a_champion_may_replace_one_beside_which_it_has_no_room(
    shelf: Shelf, loader: Loader
) -> None:
    """The old one answers until then, and is dropped."""
    loader.sizes = {1: 60, 2: 60}
    slot = Slot(shelf, loader, on_swap=lambda _: None, most_bytes=100)
    shelf.write_live(live(1))
    slot.look()
    shelf.write_live(live(2, 1))
    slot.look()
    assert (slot.champion().number, sorted(slot.loaded.by_number)) == (2, [2])


def test_whether_the_registry_is_reached_is_shown_and_said(
    shelf: Shelf, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    """By the workers too: a follower's words are in another process' log."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_contact(Contact(ok=True, since=NOON))
    slot.look()
    assert caplog.text == ""
    why = "MLflow does not answer."
    shelf.write_contact(Contact(ok=False, since=NOON, why=why))
    slot.look()
    shown = {"ok": False, "since": NOON.isoformat(), "why": why}
    assert slot.describe()["registry"] == shown
    shelf.write_contact(Contact(ok=True, since=NOON))
    slot.look()
    assert [one.getMessage() for one in caplog.records] == [
        f"shop: the last good version serves from its local copy, as the registry is away: {why}",
        "shop: the registry answers again",
    ]


def test_what_the_follower_refuses_is_passed_on(shelf: Shelf, loader: Loader) -> None:
    """An alias that was moved by hand, for one."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1, refused="version 2 does not fit"))
    slot.look()
    assert slot.describe()["refused"] == "version 2 does not fit"


def test_what_the_follower_found_of_the_features_is_shown(shelf: Shelf, loader: Loader) -> None:
    """Of the version that answers, and of no other; whoever counts is told of each look."""
    looks: list[int] = []

    def count() -> None:
        looks.append(len(slot.check.differences) if slot.check else -1)

    slot = Slot(shelf, loader, on_swap=lambda _: None, on_look=count)
    shelf.write_live(live(1))
    slot.look()
    difference = Difference(column="users:age", aspect="dtype", contract="float64", feast="string")
    check = FeatureCheck(version=1, digest="1", at=NOON, differences=(difference,))
    shelf.write_check(check)
    slot.look()
    slot.look()
    assert looks == [-1, 1]
    assert slot.describe()["features"] == {
        "ok": False,
        "checked_at": NOON.isoformat(),
        "differences": [
            {"column": "users:age", "aspect": "dtype", "contract": "float64", "feast": "string"}
        ],
        "unchecked": None,
    }
    shelf.write_check(check.model_copy(update={"differences": (), "unchecked": "Feast is down."}))
    slot.look()
    assert slot.describe()["features"]["ok"] is None
    shelf.write_live(live(2, 1))
    slot.look()
    assert slot.describe()["features"] is None


def test_versions_are_found_by_number_and_by_alias(tmp_path: Path) -> None:
    """As the routes name them."""
    slot = filled_slot(tmp_path, version(2), version(1))
    assert slot.version("1").number == 1
    assert slot.alias("v1").number == 1


@pytest.mark.parametrize("wanted", ["3", "-1", "two", "1.0", "", "9" * 5000])
def test_a_version_that_is_not_loaded_is_named(tmp_path: Path, wanted: str) -> None:
    """Whatever stands in the route, with those that are loaded."""
    slot = filled_slot(tmp_path, version(2), version(1))
    with pytest.raises(VersionNotLoaded, match="loaded versions: 1, 2") as caught:
        slot.version(wanted)
    assert f"version {wanted[:20]}" in caught.value.sentence


def test_a_started_slot_follows_until_it_is_stopped(shelf: Shelf, loader: Loader) -> None:
    """A state that cannot be read is logged, and the next one followed."""
    slot = Slot(shelf, loader, on_swap=lambda _: None)
    shelf.write_live(live(1))
    slot.start(every_seconds=0.005)
    try:
        assert slot.champion().number == 1
        shelf.live_file.write_text("{")
        time.sleep(0.02)
        shelf.write_live(live(2))
        wait_for(lambda: slot.champion().number == 2)
    finally:
        slot.stop()
