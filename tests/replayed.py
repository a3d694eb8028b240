"""The flights of the worked example, replayed, for tests."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

STEP = Path(__file__).resolve().parents[1] / "bentos" / "flight_delay"
SHIFT = pd.Timedelta(weeks=681)
"""From 2013-11-01 to 2026-11-20: tests have a today of their own."""
VIEWS = {
    "airport_weather": ["origin"],
    "airport_recent": ["origin"],
    "aircraft_last_leg": ["tailnum"],
    "carrier_recent": ["carrier"],
    "route_history": ["origin", "dest"],
}
"""What is streamed, and by which keys."""

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """The year's flights and the example's own modules."""

    flights: pd.DataFrame
    folder: Path
    replay: Any
    sources: Any

    def minutes(self, span: Span, flights: pd.DataFrame | None = None) -> list[Any]:
        """Replay a span, of other flights if there are some given."""
        table = self.flights if flights is None else flights
        return list(self.replay.Replay(table, self.folder, SHIFT).minutes(*span))


@contextmanager
def open_year() -> Iterator[Year]:
    """Import the example's modules as its scripts do, and read the flights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STEP))
        departures = importlib.import_module("departures")
        folder = departures.tables()
        yield Year(
            flights=departures.read_departures(folder),
            folder=folder,
            replay=importlib.import_module("replay"),
            sources=importlib.import_module("sources"),
        )


def assert_equal_to_the_batch(year: Year, minutes: Sequence[Any], view: str, span: Span) -> int:
    """Compare the replayed rows of a view with those that a batch makes of the whole year.

    Each once, each value to the last bit; returns how many there are.
    """
    made = year.sources.SOURCES[view](year.flights, year.folder)
    made = made.assign(event_timestamp=made["event_timestamp"] + SHIFT)
    at = made["event_timestamp"]
    order = [*VIEWS[view], "event_timestamp"]
    batch = made[(at >= span[0]) & (at < span[1])].sort_values(order, ignore_index=True)
    rows = pd.DataFrame(
        [e.row for minute in minutes for e in minute.events if e.source == f"{view}_push"]
    )
    rows["event_timestamp"] = pd.to_datetime(rows["event_timestamp"], utc=True)
    replayed = rows[list(made.columns)].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(
        replayed.replace({None: np.nan}), batch, check_exact=True, check_dtype=False
    )
    return len(batch)
