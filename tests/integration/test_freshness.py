"""How fresh a view is: by what is online, what its source has, and its time to live."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.tiny import NOON, Tiny
from trivet import cli
from trivet.errors import FeaturesUnavailable
from trivet.features.freshness import Freshness, read_freshness

pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning"),
]

MINUTE = timedelta(minutes=1)
LEARNT = NOON - timedelta(hours=1)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Return a project whose source has values of eleven o'clock, with a TTL of two hours."""
    made = Tiny(tmp_path / "tiny")
    made.apply()
    return made


def judge(tiny: Tiny, now: Any = NOON) -> Freshness:
    """Return what is known of the one view."""
    (view,) = read_freshness(tiny.open(), now)
    return view


def test_before_the_first_materialization_nothing_is_online(tiny: Tiny) -> None:
    """Whatever the source has."""
    view = judge(tiny)
    assert (view.view, view.state, view.newest, view.materialized_until) == (
        "users",
        "never",
        None,
        None,
    )
    assert view.age(NOON) is None


def test_right_after_it_the_view_is_fresh(tiny: Tiny) -> None:
    """Its age is that of its newest value, not of the materialization."""
    tiny.materialize()
    view = judge(tiny, NOON + MINUTE)
    assert view.state == "fresh"
    assert view.newest == LEARNT
    assert view.age(NOON + MINUTE) == timedelta(minutes=61)
    assert (view.ttl_seconds, view.materialized_until) == (7200, NOON)


def test_values_that_wait_make_it_late(tiny: Tiny) -> None:
    """It is said since when; materializing brings them."""
    tiny.materialize()
    tiny.learn(3, LEARNT, NOON + MINUTE)
    assert judge(tiny).state == "fresh"  # of the future, as yet
    later = NOON + 5 * MINUTE
    view = judge(tiny, later)
    assert (view.state, view.waiting_since) == ("late", NOON + MINUTE)
    tiny.materialize(later)
    assert (judge(tiny, later).state, judge(tiny, later).newest) == ("fresh", NOON + MINUTE)


def test_past_the_ttl_it_is_stale(tiny: Tiny) -> None:
    """From the moment at which its newest value counts as absent."""
    tiny.materialize()
    edge = LEARNT + timedelta(hours=2)
    assert judge(tiny, edge).state == "fresh"
    assert judge(tiny, edge + timedelta(seconds=1)).state == "stale"


def test_without_a_ttl_it_is_never_stale(tiny: Tiny) -> None:
    """However old."""
    tiny.change("timedelta(hours=2)", "timedelta(0)")
    tiny.apply()
    tiny.materialize()
    view = judge(tiny, NOON + timedelta(days=900))
    assert (view.state, view.ttl_seconds) == ("fresh", None)


def test_on_another_store_the_source_tells(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its newest value up to the end of what was materialized: that is what was brought."""
    tiny.materialize()
    tiny.learn(3, LEARNT, NOON + MINUTE)
    monkeypatch.setattr("trivet.features.freshness.online_file", lambda _: None)
    assert judge(tiny, NOON + MINUTE).newest == LEARNT


def test_a_source_that_cannot_be_read_hides_only_what_waits(tiny: Tiny) -> None:
    """What is online is known all the same."""
    tiny.materialize()
    (tiny.root / "data" / "users.parquet").write_bytes(b"not Parquet")
    view = judge(tiny, NOON + MINUTE)
    assert (view.state, view.newest, view.waiting_since) == ("fresh", LEARNT, None)


def test_a_registry_that_does_not_answer_is_said_to_be(tiny: Tiny) -> None:
    """As everywhere."""
    store = tiny.open()
    store.registry.refresh()
    tiny.registry_file.write_bytes(b"no registry")
    with pytest.raises(FeaturesUnavailable, match="registry does not answer"):
        read_freshness(store, NOON)


def test_the_status_shows_what_answers_and_what_does_not(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A service that does not run is no error here, nor is a registry without models."""
    monkeypatch.chdir(tiny.root)
    monkeypatch.setattr("trivet.cli.output.out._width", 140)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, out, _ = _run(monkeypatch, capsys, "status", "--url", "http://127.0.0.1:9")
    assert code == 0
    for part in ("no answer", "users", "never", "2 h"):
        assert part in out
    code, out, _ = _run(monkeypatch, capsys, "status", "--url", "http://127.0.0.1:9", "--json")
    document = json.loads(out)
    assert (code, document["service"]["model"], document["mlflow"]["models"]) == (0, None, [])
    assert [view["state"] for view in document["features"]["views"]] == ["never"]


def _run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *arguments: str) -> tuple[Any, str, str]:
    monkeypatch.setattr(sys, "argv", ["trivet", *arguments])
    code: Any = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err
