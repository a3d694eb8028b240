"""A tag is read as it was written, and one that cannot be is refused by a sentence."""

from __future__ import annotations

import pytest

from trivet.canary.state import Canary, Limits, Shadow, parse_state, to_tag
from trivet.errors import BadTrial
from trivet.live import Live
from unit.fakes import live


@pytest.mark.parametrize(
    "state",
    [
        Canary(version=2, percent=0.1, limits=Limits(p99_ms=20), promote_after_seconds=60),
        Shadow(version=3, tolerance=2.5),
    ],
    ids=["canary", "shadow"],
)
def test_a_tag_is_read_as_it_was_written(state: Canary | Shadow) -> None:
    """What is at its default is left out of it."""
    kind = "canary" if isinstance(state, Canary) else "shadow"
    text = to_tag(state)
    assert parse_state(kind, text) == state
    assert "min_requests" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ten percent", "Invalid JSON"),
        ('{"version": 2}', "percent: Field required"),
        ('{"version": 2, "percent": 101}', "percent: Input should be less than or equal to 100"),
        ('{"version": 2, "percent": 5, "limits": {"p99": 3}}', "limits.p99: Extra inputs"),
    ],
)
def test_a_tag_that_cannot_be_read_says_why(text: str, said: str) -> None:
    """And how to end it."""
    with pytest.raises(BadTrial) as refused:
        parse_state("canary", text)
    assert said in refused.value.sentence
    assert "--stop" in (refused.value.hint or "")


def test_a_live_state_without_either_is_read() -> None:
    """Written before there were canaries."""
    document = live(1).model_dump(mode="json")
    del document["canary"], document["shadow"]
    assert Live.model_validate(document) == live(1)
