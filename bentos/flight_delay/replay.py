"""The year's flights once more, minute by minute, in the order in which things became known.

Nothing here looks ahead: what happens at a minute is computed from what had happened by then, by the
very functions that write the sources (`sources.py`), so the rows of a replay equal the sources' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd

import sources
from departures import LATE, LEAD, VERY_LATE
from windows import Windows

T = TypeVar("T")

INSTANCE: Final = ["origin", "dest", "carrier", "tailnum"]
KNOWN_AT: Final = {
    "departed_at": ["departure_delay"],
    "arrived_at": ["arrival_delay", "air_time"],
    "cancelled_at": [],
}
"""The moment at which each of a flight's values becomes known; its schedule is known all along."""

# No flight of the year arrived two days after its schedule.
_LONGEST: Final = pd.Timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row for a push source."""

    source: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A departure whose delay is asked about."""

    flight: str
    instance: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a departure."""

    flight: str
    label: int | None
    """0 on time, 1 late, 2 very late; None: it was called off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What became known at a minute, and what is asked at its end: it may use all of that."""

    at: datetime
    events: tuple[Event, ...]
    outcomes: tuple[Outcome, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    """A view whose rows are sums over windows, and how wide those are."""

    make: Callable[..., pd.DataFrame]
    windows: Windows
    reach: pd.Timedelta | None
    """None: all flights, as the function needs the year's schedule."""


class Replay:
    """Flights of 2013, told at the times to which they have been moved."""

    def __init__(self, flights: pd.DataFrame, folder: Path, shift: pd.Timedelta) -> None:
        """Sort the flights.

        Args:
            flights: of `departures.read_departures`.
            folder: of the package's tables.
            shift: how far the year has been moved.
        """
        self._flights = flights.sort_values("scheduled_departure", ignore_index=True)
        self._folder = folder
        self._shift = shift
        weather = sources.airport_weather(flights, folder)
        self._weather = dict(iter(weather.groupby("event_timestamp")))
        self._computed = {
            "airport_recent": _Computed(
                make=sources.airport_recent,
                windows=sources.quarter_hours(flights),
                reach=pd.Timedelta(hours=2),
            ),
            "carrier_recent": _Computed(
                make=sources.carrier_recent,
                windows=sources.hours(flights),
                reach=pd.Timedelta(hours=24),
            ),
            "route_history": _Computed(
                make=sources.route_history, windows=sources.days(flights), reach=None
            ),
        }

    def minutes(self, since: datetime, until: datetime) -> Iterator[Minute]:
        """Tell every minute in `[since, until)` at which something happens, in order.

        Args:
            since: aware; a moment of the moved year.
            until: as `since`.
        """
        first, last = (pd.Timestamp(moment) - self._shift for moment in (since, until))
        near = near_to(self._flights, first, last)
        near = near.assign(
            flight_id=_names(near, self._shift), asked_at=near["scheduled_departure"] - LEAD
        )
        arrived, cancelled, asked = (
            near[(near[at] >= first) & (near[at] < last)]
            for at in ("arrived_at", "cancelled_at", "asked_at")
        )
        legs = sources.aircraft_last_leg(arrived, self._folder)  # each is made of its own arrival
        events = _by_minute(legs["event_timestamp"], self._rows("aircraft_last_leg", legs))
        outcomes = _by_minute(
            pd.concat([arrived["arrived_at"], cancelled["cancelled_at"]]),
            (*_labels(arrived), *_called_off(cancelled)),
        )
        questions = _by_minute(*self._questions(asked))
        for at in pd.date_range(first.ceil("min"), last, freq="min", inclusive="left"):
            minute = Minute(
                at=(at + self._shift).to_pydatetime(),
                events=(*events.get(at, ()), *self._at_intervals(at)),
                outcomes=(*outcomes.get(at, ()),),
                questions=(*questions.get(at, ()),),
            )
            if minute.events or minute.outcomes or minute.questions:
                yield minute

    def _at_intervals(self, at: pd.Timestamp) -> Iterator[Event]:
        if at in self._weather:
            yield from self._rows("airport_weather", self._weather[at])
        for view, computed in self._computed.items():
            if at in computed.windows.ends:
                windows = replace(computed.windows, ends=pd.DatetimeIndex([at]))
                known = known_by(self._flights, at, computed.reach)
                yield from self._rows(view, computed.make(known, self._folder, windows=windows))

    def _questions(self, asked: pd.DataFrame) -> tuple[pd.Series, Iterator[Question]]:
        """Return when departures are asked about, and what is asked."""
        # Without a tail number there is nothing to look up, and all of those are called off.
        named = asked[asked["tailnum"].notna()]
        instants = ["scheduled_departure", "scheduled_arrival"]
        moved = named[INSTANCE].assign(**{name: named[name] + self._shift for name in instants})
        pairs = zip(named["flight_id"], _records(moved), strict=True)
        return named["asked_at"], (Question(flight=f, instance=instance) for f, instance in pairs)

    def _rows(self, view: str, rows: pd.DataFrame) -> Iterator[Event]:
        moved = rows.assign(event_timestamp=rows["event_timestamp"] + self._shift)
        for row in _records(moved):
            yield Event(source=f"{view}_push", row=row)


def known_by(
    flights: pd.DataFrame, moment: pd.Timestamp, reach: pd.Timedelta | None
) -> pd.DataFrame:
    """Return flights as one knew them at a moment: nothing of what came after it.

    Args:
        flights: by scheduled departure.
        moment: what happened at it is known.
        reach: leave out the flights that nothing can have become known of since so long before it.
    """
    known = flights.copy() if reach is None else near_to(flights, moment - reach, moment).copy()
    for at, values in KNOWN_AT.items():
        known[[at, *values]] = known[[at, *values]].where(known[at] <= moment)
    return known


def near_to(flights: pd.DataFrame, since: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
    """Return the flights of which something can have become known, or been asked, in a span."""
    scheduled = flights["scheduled_departure"]
    return flights.iloc[slice(*scheduled.searchsorted([since - _LONGEST, until + _LONGEST]))]


def _labels(arrived: pd.DataFrame) -> Iterator[Outcome]:
    for flight, delay in zip(arrived["flight_id"], arrived["arrival_delay"], strict=True):
        yield Outcome(flight=flight, label=int(delay > LATE) + int(delay > VERY_LATE))


def _called_off(cancelled: pd.DataFrame) -> Iterator[Outcome]:
    return (Outcome(flight=flight, label=None) for flight in cancelled["flight_id"])


def _names(flights: pd.DataFrame, shift: pd.Timedelta) -> pd.Series:
    """Return a name for every flight, such as ``UA1545.EWR.0920T1015``."""
    scheduled = (flights["scheduled_departure"] + shift).dt.strftime("%m%dT%H%M")
    number = flights["carrier"] + flights["flight"].astype(str)
    return number + "." + flights["origin"] + "." + scheduled


def _by_minute(moments: pd.Series, things: Iterable[T]) -> dict[pd.Timestamp, list[T]]:
    found: dict[pd.Timestamp, list[T]] = {}
    for moment, thing in zip(moments, things, strict=True):
        found.setdefault(moment, []).append(thing)
    return found


def _records(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Return rows as JSON has them: instants in ISO 8601, nothing where a value is missing."""
    columns = {
        name: column.map(pd.Timestamp.isoformat) if column.dtype.kind == "M" else column
        for name, column in rows.items()
    }
    plain = pd.DataFrame(columns).astype(object).replace({np.nan: None})
    records: list[dict[str, Any]] = plain.to_dict("records")
    yield from records
