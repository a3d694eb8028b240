"""A report is a picture, a document beside it, and numbers that agree."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from trivet.errors import NoTraffic
from trivet.observe.figure import draw
from trivet.observe.report import Report, write_report
from trivet.observe.scrape import read_traffic
from unit.fakes import NOON
from unit.traffic import exposition

FAST = {"validate": 0.00003, "features": 0.0008, "predict": 0.0003}
SLOW = {"validate": 0.00005, "features": 0.0040, "predict": 0.0009}
MIXED = exposition([FAST] * 98 + [SLOW] * 2)


def drawn(text: str) -> Figure:
    """Return the figure of some traffic."""
    return draw(read_traffic(text, "shop"), NOON)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return a report that was written into a folder that was not there."""
    return write_report(MIXED, "shop", tmp_path_factory.mktemp("reports") / "shop", NOON)


def test_the_picture_is_written(report: Report) -> None:
    """Large enough to be read on a page."""
    height, width, _ = matplotlib.image.imread(report.picture).shape
    assert report.picture.name == "latency.png"
    assert width > 1500
    assert height > 500


def test_the_document_beside_it_has_the_numbers(report: Report) -> None:
    """For a program that compares two reports."""
    document = json.loads((report.picture.parent / "latency.json").read_text())
    assert document["model"] == "shop"
    assert document["total"]["count"] == 100
    assert [step["name"] for step in document["steps"]] == ["validate", "features", "predict"]
    assert document["answered"] == [{"version": "1", "status": "200", "count": 100}]
    assert sum(share["requests"] for share in document["distribution"]) == 100


def test_averages_are_exact_and_quantiles_have_bounds(report: Report) -> None:
    """In milliseconds."""
    features = report.steps[1]
    assert features.average_ms == pytest.approx(0.98 * 0.8 + 0.02 * 4.0)
    assert features.p50.bucket_from_ms <= 0.8 <= (features.p50.bucket_to_ms or 0)
    assert (features.p99.bucket_from_ms, features.p99.bucket_to_ms) == (3.0, 5.0)
    assert 3.0 < features.p99.ms <= 5.0


def test_what_is_in_no_step_is_said(report: Report) -> None:
    """The steps of this traffic are the whole of it."""
    assert report.waiting_average_ms == pytest.approx(0.0, abs=1e-9)


def test_a_quantile_beyond_the_last_bound_has_none(tmp_path: Path) -> None:
    """JSON has no infinity."""
    slow = write_report(exposition([{"predict": 60.0}]), "shop", tmp_path, NOON)
    assert (slow.total.p99.ms, slow.total.p99.bucket_to_ms) == (5000.0, None)
    assert slow.distribution[-1].to_ms is None
    assert "Infinity" not in (tmp_path / "latency.json").read_text()


def test_without_traffic_nothing_is_written(tmp_path: Path) -> None:
    """An older report stays as it is."""
    with pytest.raises(NoTraffic):
        write_report("", "shop", tmp_path / "shop", NOON)
    assert not (tmp_path / "shop").exists()


def test_the_title_says_what_was_measured() -> None:
    """Model, requests, and when."""
    assert drawn(MIXED).get_suptitle() == "shop: 100 requests, as of 2026-11-22 12:00 UTC"
    assert ": 1 request," in drawn(exposition([FAST])).get_suptitle()


def test_the_left_figure_has_a_bar_for_average_and_p99_of_every_step() -> None:
    """From zero, from top to bottom in a request's order."""
    left = drawn(MIXED).axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == list(FAST)
    assert len(left.patches) == 2 * len(FAST)
    assert all(bar.get_x() == 0 for bar in left.patches)
    low, high = left.get_ylim()
    assert low > high


def test_the_area_of_a_bar_is_its_share() -> None:
    """On the logarithmic axis that is drawn, where buckets are not equally wide."""
    right = drawn(exposition([{"predict": 0.0004}] * 30 + [{"predict": 0.2}] * 10)).axes[1]
    assert right.get_xscale() == "log"
    few, many = sorted(_log_area(bar) for bar in right.patches)
    assert many == pytest.approx(3 * few)


def _log_area(bar: Rectangle) -> float:
    left, width, height = bar.get_x(), bar.get_width(), bar.get_height()
    return height * math.log((left + width) / left)


def test_the_right_figure_marks_mean_and_quantiles() -> None:
    """With their values."""
    right = drawn(MIXED).axes[1]
    legend = right.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert [label.split()[0] for label in labels] == ["mean", "p50", "p99"]
    assert labels[0] == "mean 1.21 ms"


@pytest.mark.parametrize(
    "text",
    [
        exposition([{"predict": 1e-6}]),
        exposition([{"predict": 1000.0}]),
        exposition([{"predict": 1e-6}, {"predict": 1000.0}]),
        exposition([{"predict": 0.00001 * 1.3**n} for n in range(60)]),
    ],
    ids=["below the first bound", "beyond the last", "both", "every bucket"],
)
def test_any_traffic_can_be_drawn(text: str) -> None:
    """Open buckets too, and more buckets than have room for their bounds."""
    picture = io.BytesIO()
    drawn(text).savefig(picture, dpi=40)
    assert picture.getvalue().startswith(b"\x89PNG")
