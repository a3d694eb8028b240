"""The follower's look at Feast writes what it finds, and never stops the follower."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from trivet.contract import Contract
from trivet.errors import Difference, FeaturesUnavailable
from trivet.live import CONTRACT, Shelf
from trivet.watch import FeatureWatch
from unit.fakes import NOON, live, settings, shop

AGE = Difference(column="users:age", aspect="dtype", contract="float64", feast="string")


class Feast:
    """A gate that says what it is told to."""

    def __init__(self) -> None:
        """Everything fits at first."""
        self.differences: Sequence[Difference] = ()
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self, contract: Contract) -> Sequence[Difference]:
        """Compare."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.differences


@pytest.fixture
def feast() -> Feast:
    """Return a Feast that fits."""
    return Feast()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return the shelf of a host on which version 1 of the shop is live."""
    made = Shelf(tmp_path / ".trivet", "shop")
    (made.path("1") / "trivet").mkdir(parents=True)
    (made.path("1") / CONTRACT).write_text(shop().to_json())
    made.write_live(live(1))
    return made


def watch(tmp_path: Path, feast: Feast, every: float = 1e-9) -> FeatureWatch:
    """Return a watch for which a look is always due."""
    return FeatureWatch(
        settings(tmp_path, feature_check_seconds=every),
        "shop",
        feast,
        lambda: NOON,
    )


def test_what_differs_is_written_and_logged_once(
    tmp_path: Path, feast: Feast, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """With the version and the moment."""
    feast.differences = (AGE,)
    looking = watch(tmp_path, feast)
    looking.look()
    looking.look()
    check = shelf.read_check()
    assert check is not None
    assert (check.version, check.digest, check.at) == (1, "1", NOON)
    assert check.differences == (AGE,)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "users:age dtype: float64 -> string" in caplog.text


def test_what_fits_again_is_written_too(tmp_path: Path, feast: Feast, shelf: Shelf) -> None:
    """Whoever mended it sees so."""
    feast.differences = (AGE,)
    looking = watch(tmp_path, feast)
    looking.look()
    feast.differences = ()
    looking.look()
    check = shelf.read_check()
    assert check is not None
    assert check.differences == ()


def test_a_registry_that_is_down_is_not_a_difference(
    tmp_path: Path, feast: Feast, shelf: Shelf
) -> None:
    """Nothing could be compared, and that is what is written."""
    feast.error = FeaturesUnavailable("The feature registry does not answer.")
    watch(tmp_path, feast).look()
    check = shelf.read_check()
    assert check is not None
    assert (check.differences, check.unchecked) == ((), "The feature registry does not answer.")


@pytest.mark.usefixtures("shelf")
def test_nothing_stops_the_follower(
    tmp_path: Path, feast: Feast, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of any kind is logged, and it looks again when it is due."""
    feast.error = KeyError("surprise")
    looking = watch(tmp_path, feast)
    looking.look()
    looking.look()
    assert feast.asked == 2
    assert "surprise" in caplog.text


@pytest.mark.usefixtures("shelf")
def test_it_looks_only_when_it_is_due(tmp_path: Path, feast: Feast) -> None:
    """A service that starts has better use for the processor."""
    watch(tmp_path, feast, every=30).look()
    assert feast.asked == 0


def test_before_the_first_release_there_is_nothing_to_compare(tmp_path: Path, feast: Feast) -> None:
    """No file is written."""
    watch(tmp_path, feast).look()
    assert feast.asked == 0
    assert Shelf(tmp_path / ".trivet", "shop").read_check() is None


def test_a_model_without_features_from_feast_is_not_compared(
    tmp_path: Path, feast: Feast, shelf: Shelf
) -> None:
    """Nor is Feast imported for it."""
    contract = shop(project=None, feature_service=None)
    (shelf.path("1") / CONTRACT).write_text(contract.to_json())
    watch(tmp_path, feast).look()
    assert feast.asked == 0


def test_a_look_yields_the_processor_and_leaves_the_rest_of_its_process_alone(
    tmp_path: Path, feast: Feast
) -> None:
    """What is started from here, a service in a test included, has the usual priority."""
    found: list[int] = []

    def look() -> None:
        watch(tmp_path, feast).look()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=look)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread.start()
    thread.join()
    watch(tmp_path, feast).look()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert found == [max(before, 10)] or sys.platform != "linux"
