"""One function a feature view: its rows, each stamped with the moment at which it was known.

A function that sums over windows can be asked for some of its windows alone: ``windows``. It needs
nothing then but what had happened by their ends, which is how a stream computes the same rows.

Every frame holds the view's join keys, its features and ``event_timestamp`` (UTC). Delays are in
minutes (float64), counts int64, shares between 0 and 1 (float64). A mean or a share over no
flights is missing. Windows are shorter in the first weeks of the year, as nothing is known of the
year before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from departures import LATE, VERY_LATE
from windows import Windows

YEAR_STARTS: Final = pd.Timestamp("2013-01-01", tz="UTC")
YEAR_ENDS: Final = pd.Timestamp("2014-01-01", tz="UTC")

# Beyond any wind ever measured: the table holds one reading of 1,048 mph.
_STRONGEST_WIND_MPH: Final = 250.0

Source = Callable[[pd.DataFrame, Path], pd.DataFrame]


def airport_weather(_flights: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the hourly observations, each known at the end of its hour.

    Gusts are left out: four in five are missing.
    """
    names = {
        "temp": "weather_temperature_f",
        "dewp": "weather_dew_point_f",
        "humid": "weather_humidity_pct",
        "wind_dir": "weather_wind_direction_deg",
        "wind_speed": "weather_wind_speed_mph",
        "precip": "weather_precipitation_in",
        "pressure": "weather_pressure_mb",
        "visib": "weather_visibility_mi",
    }
    raw = pd.read_csv(folder / "weather.csv")
    rows = raw[["origin", *names]].rename(columns=names)
    wind = rows["weather_wind_speed_mph"]
    rows["weather_wind_speed_mph"] = wind.where(wind < _STRONGEST_WIND_MPH)
    rows["event_timestamp"] = pd.to_datetime(raw["time_hour"], utc=True) + pd.Timedelta(hours=1)
    return rows


def airport_recent(
    flights: pd.DataFrame, _folder: Path, *, windows: Windows | None = None
) -> pd.DataFrame:
    """Return what an airport has seen over the last 2 h, at the end of every quarter hour."""
    windows = windows or quarter_hours(flights)
    width = pd.Timedelta(hours=2)
    flights = flights.assign(late=flights["departure_delay"] > LATE)
    left = windows.sums(flights, ("departure_delay", "late"), at="departed_at", width=width)
    cancelled = windows.sums(flights, at="cancelled_at", width=width)
    return windows.rows().assign(
        airport_departed_2h=_whole(left["count"]),
        airport_cancelled_2h=_whole(cancelled["count"]),
        airport_overdue_now=_whole(_overdue(flights, windows)),
        airport_departure_delay_mean_2h=_ratio(left["departure_delay"], left["count"]),
        airport_late_share_2h=_ratio(left["late"], left["count"]),
    )


def aircraft_last_leg(flights: pd.DataFrame, _folder: Path) -> pd.DataFrame:
    """Return every arrival as what is known of its aircraft from then on.

    Of two arrivals of one aircraft in the same minute (an error of the record) the flight that
    left later counts.
    """
    names = {
        "arrived_at": "event_timestamp",
        "dest": "leg_dest",
        "departure_delay": "leg_departure_delay_min",
        "arrival_delay": "leg_arrival_delay_min",
        "air_time": "leg_air_time_min",
    }
    arrived = flights[flights["arrived_at"].notna() & flights["tailnum"].notna()]
    arrived = arrived.sort_values(["arrived_at", "departed_at"])
    arrived = arrived.drop_duplicates(["tailnum", "arrived_at"], keep="last")
    return arrived[["tailnum", *names]].rename(columns=names)


def carrier_recent(
    flights: pd.DataFrame, _folder: Path, *, windows: Windows | None = None
) -> pd.DataFrame:
    """Return how a carrier has done over the last 24 h, at every full hour."""
    windows = windows or hours(flights)
    width = pd.Timedelta(hours=24)
    flights = flights.assign(late=flights["arrival_delay"] > LATE)
    left = windows.sums(flights, ("departure_delay",), at="departed_at", width=width)
    arrived = windows.sums(flights, ("arrival_delay", "late"), at="arrived_at", width=width)
    cancelled = windows.sums(flights, at="cancelled_at", width=width)["count"]
    return windows.rows().assign(
        carrier_departed_24h=_whole(left["count"]),
        carrier_cancelled_share_24h=_ratio(cancelled, cancelled + left["count"]),
        carrier_departure_delay_mean_24h=_ratio(left["departure_delay"], left["count"]),
        carrier_arrival_delay_mean_24h=_ratio(arrived["arrival_delay"], arrived["count"]),
        carrier_late_share_24h=_ratio(arrived["late"], arrived["count"]),
    )


def route_history(
    flights: pd.DataFrame, _folder: Path, *, windows: Windows | None = None
) -> pd.DataFrame:
    """Return how a route has done over the last 28 d, every day at 08:00 UTC.

    That is 3 or 4 in the morning in New York: yesterday's last flights are in, and the first of
    today is asked about at 08:00 at the earliest.
    """
    windows = windows or days(flights)
    late, very_late = flights["arrival_delay"] > LATE, flights["arrival_delay"] > VERY_LATE
    arrived = windows.sums(
        flights.assign(late=late, very_late=very_late),
        ("arrival_delay", "late", "very_late"),
        at="arrived_at",
        width=pd.Timedelta(days=28),
    )
    return windows.rows().assign(
        route_arrived_28d=_whole(arrived["count"]),
        route_arrival_delay_mean_28d=_ratio(arrived["arrival_delay"], arrived["count"]),
        route_late_share_28d=_ratio(arrived["late"], arrived["count"]),
        route_very_late_share_28d=_ratio(arrived["very_late"], arrived["count"]),
        route_distance_mi=_distances(flights, windows.keys).repeat(len(windows.ends)),
    )


def plane(_flights: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the aircraft register, known from the start of the year on.

    It holds the age in the year of the flights and not the year of manufacture, which re-dating
    would make wrong.
    """
    raw = pd.read_csv(folder / "planes.csv")
    return pd.DataFrame(
        {
            "tailnum": raw["tailnum"],
            "plane_age_years": (YEAR_STARTS.year - raw["year"]).astype(np.float64),
            "plane_seats": raw["seats"],
            "plane_engines": raw["engines"],
            "plane_engine_type": raw["engine"],
            "plane_manufacturer": raw["manufacturer"],
            "event_timestamp": YEAR_STARTS,
        }
    )


SOURCES: Final[dict[str, Source]] = {
    "airport_weather": airport_weather,
    "airport_recent": airport_recent,
    "aircraft_last_leg": aircraft_last_leg,
    "carrier_recent": carrier_recent,
    "route_history": route_history,
    "plane": plane,
}
"""Every feature view's source, by the name of the view."""


def quarter_hours(flights: pd.DataFrame) -> Windows:
    """Return windows of every airport that end at every quarter hour of the year."""
    return Windows(keys=_keys(flights, "origin"), ends=_moments("15min"))


def hours(flights: pd.DataFrame) -> Windows:
    """Return windows of every carrier that end at every full hour of the year."""
    return Windows(keys=_keys(flights, "carrier"), ends=_moments("1h"))


def days(flights: pd.DataFrame) -> Windows:
    """Return windows of every route that end at 08:00 UTC of every day of the year."""
    return Windows(
        keys=_keys(flights, "origin", "dest"), ends=_moments("1D") + pd.Timedelta(hours=8)
    )


def _keys(flights: pd.DataFrame, *columns: str) -> pd.MultiIndex:
    """Return every key that occurs in the year."""
    return pd.MultiIndex.from_frame(flights[list(columns)].drop_duplicates()).sort_values()


def _moments(every: str) -> pd.DatetimeIndex:
    """Return the moments of the year at which a window ends."""
    return pd.date_range(YEAR_STARTS, YEAR_ENDS, freq=every, inclusive="left")


def _overdue(flights: pd.DataFrame, windows: Windows) -> pd.Series:
    """Count the flights scheduled before each moment that were still waiting after it.

    A flight waits from the minute after its schedule until it leaves, or until its cancellation is
    known; as long as neither is known it waits. Both are counted from the start of the year; the
    difference is who waits.
    """
    resolved = flights["departed_at"].fillna(flights["cancelled_at"])
    waits = flights["scheduled_departure"] + pd.Timedelta(minutes=1)
    delayed = flights.assign(waits_from=waits, resolved_at=resolved)[~(resolved < waits)]
    year = YEAR_ENDS - YEAR_STARTS
    started = windows.sums(delayed, at="waits_from", width=year)
    ended = windows.sums(delayed, at="resolved_at", width=year)
    return started["count"] - ended["count"]


def _distances(flights: pd.DataFrame, routes: pd.MultiIndex) -> npt.NDArray[np.int64]:
    """Return each route's distance in miles: the usual one, as two routes carry two."""
    usual = flights.groupby(list(routes.names))["distance"].agg(lambda miles: miles.mode().iloc[0])
    return usual.reindex(routes).to_numpy(dtype=np.int64)


def _whole(counts: pd.Series) -> pd.Series:
    """Turn counts into int64."""
    return counts.astype(np.int64)


def _ratio(sums: pd.Series, counts: pd.Series) -> pd.Series:
    """Divide, leaving out what has nothing to divide by."""
    return sums / counts.where(counts > 0)
