"""Events of a batch are pushed by source; what cannot be is held, or given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.stream.metrics import StreamMetrics
from trivet.stream.pushing import FeatureEvents
from unit.stream.streams import FakeOutlet, FakeSource, batch, soon, taken


class Pushing:
    """Feature events of two push sources, `a` and `b`."""

    def __init__(self, **sources: FakeSource) -> None:
        """`sources`: by their names."""
        self.sources = {"a": FakeSource(), "b": FakeSource()} | sources
        self.outlet = FakeOutlet()
        self.stopping = asyncio.Event()
        self.events = FeatureEvents(
            self._open, self.outlet, StreamMetrics("features"), self.stopping, 5
        )

    def __call__(self, *messages: Any) -> FakeOutlet:
        """Handle messages as one batch, and return what came of them."""
        asyncio.run(self.events.handle(batch(*messages)))
        self.events.stop()
        return self.outlet

    def _open(self, name: str) -> FakeSource:
        if name not in self.sources:
            raise BadSetting(f"there is no {name}")
        return self.sources[name]


def event(n: Any, source: str = "a", **row: Any) -> dict[str, Any]:
    """Return an event, its number for its id."""
    return {"id": str(n), "source": source, "row": {"n": n, **row}}


def test_events_of_a_source_are_pushed_together_in_their_order() -> None:
    """One push a source."""
    pushing = Pushing()
    outlet = pushing(event(1), event(2, "b"), event(3))
    assert pushing.sources["a"].pushed == [[{"n": 1}, {"n": 3}]]
    assert pushing.sources["b"].pushed == [[{"n": 2}]]
    assert sorted(outlet.outcomes) == [("1", "pushed"), ("2", "pushed"), ("3", "pushed")]
    assert {one.out for one in outlet.settled} == {None}


def test_rows_of_other_columns_are_pushed_apart() -> None:
    """Together, what one lacks would be a null in it."""
    pushing = Pushing()
    pushing(event(1), event(2, x=5), event(3))
    assert pushing.sources["a"].pushed == [[{"n": 1}, {"n": 3}], [{"n": 2, "x": 5}]]


def test_events_that_are_none_go_to_the_dead_letters() -> None:
    """Not JSON, of no source, without a column: each with its reason, and the others are pushed."""
    outlet = Pushing()(b"{", event(1, "c"), event("much"), event(2))
    assert outlet.outcomes == [(None, "dead"), ("1", "dead"), ("much", "dead"), ("2", "pushed")]
    reasons = [outlet.out(number)["reason"]["detail"] for number in range(3)]
    assert "not JSON" in reasons[0]
    assert reasons[1:] == ["there is no c", "n is required"]


@pytest.mark.parametrize("error", [BadSetting("of the future"), OverflowError("too large")])
def test_one_that_cannot_be_pushed_is_found_among_many(error: Exception) -> None:
    """Whatever a push of it raises; the others are pushed, in their order."""
    source = FakeSource(refuses={37: error})
    outlet = Pushing(a=source)(*[event(n) for n in range(100)])
    assert [row["n"] for rows in source.pushed for row in rows] == [
        n for n in range(100) if n != 37
    ]
    assert [one for one in outlet.outcomes if one[1] == "dead"] == [("37", "dead")]


def test_while_a_store_is_down_events_are_held() -> None:
    """Of that source; nothing of them is acknowledged before they are pushed."""
    source = FakeSource(errors=[FeaturesUnavailable("down"), OSError("disk full")])
    outlet = Pushing(a=source)(event(1), event(2, "b"), event(3))
    assert outlet.outcomes == [("2", "pushed"), ("1", "pushed"), ("3", "pushed")]
    assert source.pushed == [[{"n": 1}, {"n": 3}]]


def test_events_that_others_have_settled_first_hold_up_nothing() -> None:
    """Pushed ones and dead ones: the outlet counts them as duplicates, as it does answers."""
    pushing = Pushing()
    pushing.outlet.duplicates = 2
    assert pushing(event(1), event("much")).outcomes == [("much", "dead"), ("1", "pushed")]


def test_a_stop_leaves_held_events_to_others() -> None:
    """At once."""
    source = FakeSource(errors=[FeaturesUnavailable("down")] * 100)
    pushing = Pushing(a=source)

    async def story() -> None:
        await asyncio.gather(pushing.events.handle(batch(event(1))), soon(pushing.stopping))

    asyncio.run(asyncio.wait_for(story(), 2))
    pushing.events.stop()
    assert not pushing.outlet.settled


def test_an_event_that_nobody_came_to_the_end_of_is_given_up() -> None:
    """Without being pushed once more."""
    pushing = Pushing()
    outlet = pushing(taken(event(1), deliveries=6), event(2))
    assert outlet.outcomes == [("1", "dead"), ("2", "pushed")]
    assert pushing.sources["a"].pushed == [[{"n": 2}]]
