"""Feature definitions of the flight-delay example.

Every row of a source is stamped with the moment at which its values were *known*, never with the
moment that they are about: a join at the time of asking can then see nothing of the future. A TTL
says for how long such a value is still worth something; older than that, it counts as absent.

Feature names are unique over all views, so the short names work everywhere.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp

# DuckDB resolves relative paths against the working directory, so these are absolute.
SOURCES = Path(__file__).resolve().parent.parent / "data" / "flights"


def _source(name: str, description: str) -> FileSource:
    """Name the Parquet file of a feature view; its event timestamp is the moment of knowing."""
    return FileSource(
        name=f"{name}_source",
        path=str(SOURCES / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        description=description,
    )


def _pushed(name: str, description: str, events: str) -> PushSource:
    """Name the push source of a feature view: its rows as they become known, for file and store."""
    return PushSource(
        name=f"{name}_push", batch_source=_source(name, description), description=events
    )


origin = Entity(
    name="origin",
    join_keys=["origin"],
    value_type=ValueType.STRING,
    description="Airport of departure, IATA code: EWR, JFK or LGA.",
)
dest = Entity(
    name="dest",
    join_keys=["dest"],
    value_type=ValueType.STRING,
    description="Airport of destination, IATA code.",
)
carrier = Entity(
    name="carrier",
    join_keys=["carrier"],
    value_type=ValueType.STRING,
    description="Airline, two-letter code.",
)
aircraft = Entity(
    name="aircraft",
    join_keys=["tailnum"],
    value_type=ValueType.STRING,
    description="Aircraft, by its tail number.",
)

# An observation of the hour that began at h is known at h + 1 h. One arrives every hour: after
# 3 h two in a row have failed to come, and weather changes faster than that.
airport_weather = FeatureView(
    name="airport_weather",
    entities=[origin],
    ttl=timedelta(hours=3),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="weather_temperature_f", dtype=Float64),
        Field(name="weather_dew_point_f", dtype=Float64),
        Field(name="weather_humidity_pct", dtype=Float64),
        Field(name="weather_wind_direction_deg", dtype=Float64),
        Field(name="weather_wind_speed_mph", dtype=Float64),
        Field(name="weather_precipitation_in", dtype=Float64),
        Field(name="weather_pressure_mb", dtype=Float64),
        Field(name="weather_visibility_mi", dtype=Float64),
    ],
    source=_pushed(
        "airport_weather",
        "Hourly observations, stamped at the end of their hour.",
        "Observations as they come in.",
    ),
    description="The weather at the airport of departure, over the last full hour.",
)

# Computed at the end of every quarter hour from what had happened by then: departures at their
# actual departure, cancellations an hour past the scheduled one (the tables do not say when a
# flight was called off). A new row comes every 15 min: after 1 h the feed is broken.
airport_recent = FeatureView(
    name="airport_recent",
    entities=[origin],
    ttl=timedelta(hours=1),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="airport_departed_2h", dtype=Int64),
        Field(name="airport_cancelled_2h", dtype=Int64),
        Field(name="airport_overdue_now", dtype=Int64),
        Field(name="airport_departure_delay_mean_2h", dtype=Float64),
        Field(name="airport_late_share_2h", dtype=Float64),
    ],
    source=_pushed(
        "airport_recent",
        "One row an airport and quarter hour, stamped at its end.",
        "Every airport at the end of each quarter hour.",
    ),
    description="How the airport of departure has been doing over the last two hours.",
)

# Known at the moment of the actual arrival. An aircraft flies several legs a day: after 24 h its
# last one says nothing about the next.
aircraft_last_leg = FeatureView(
    name="aircraft_last_leg",
    entities=[aircraft],
    ttl=timedelta(hours=24),
    schema=[
        Field(name="tailnum", dtype=String),
        Field(name="leg_dest", dtype=String),
        Field(name="leg_departure_delay_min", dtype=Float64),
        Field(name="leg_arrival_delay_min", dtype=Float64),
        Field(name="leg_air_time_min", dtype=Float64),
    ],
    source=_pushed(
        "aircraft_last_leg",
        "One row an arrival, stamped when it arrived.",
        "Arrivals as they happen.",
    ),
    description="The last leg that the aircraft has completed, of those that left New York.",
)

# Computed at every full hour: departures at their actual departure, arrivals at their actual
# arrival, cancellations as above. A window of 24 h moves slowly: 6 missing hours leave three
# quarters of it in place, more do not.
carrier_recent = FeatureView(
    name="carrier_recent",
    entities=[carrier],
    ttl=timedelta(hours=6),
    schema=[
        Field(name="carrier", dtype=String),
        Field(name="carrier_departed_24h", dtype=Int64),
        Field(name="carrier_cancelled_share_24h", dtype=Float64),
        Field(name="carrier_departure_delay_mean_24h", dtype=Float64),
        Field(name="carrier_arrival_delay_mean_24h", dtype=Float64),
        Field(name="carrier_late_share_24h", dtype=Float64),
    ],
    source=_pushed(
        "carrier_recent",
        "One row a carrier and hour, stamped at its end.",
        "Every carrier at the end of each hour.",
    ),
    description="How the carrier's flights from New York have been doing over the last day.",
)

# Computed once a day at 08:00 UTC (night in New York) from the flights that had arrived by then.
# Over a window of 28 d, 3 missing days change little; more mean that nobody computes it any more.
route_history = FeatureView(
    name="route_history",
    entities=[origin, dest],
    ttl=timedelta(days=3),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="dest", dtype=String),
        Field(name="route_arrived_28d", dtype=Int64),
        Field(name="route_arrival_delay_mean_28d", dtype=Float64),
        Field(name="route_late_share_28d", dtype=Float64),
        Field(name="route_very_late_share_28d", dtype=Float64),
        Field(name="route_distance_mi", dtype=Int64),
    ],
    source=_pushed(
        "route_history",
        "One row a route and day, stamped at 08:00 UTC.",
        "Every route at 08:00 UTC.",
    ),
    description="How the route has been doing over the last four weeks, and how long it is.",
)

# An entry of the aircraft register, known from the start of the year on. It does not wear out
# within the year: no TTL.
plane = FeatureView(
    name="plane",
    entities=[aircraft],
    ttl=timedelta(0),
    schema=[
        Field(name="tailnum", dtype=String),
        Field(name="plane_age_years", dtype=Float64),
        Field(name="plane_seats", dtype=Int64),
        Field(name="plane_engines", dtype=Int64),
        Field(name="plane_engine_type", dtype=String),
        Field(name="plane_manufacturer", dtype=String),
    ],
    source=_source("plane", "One row an aircraft, stamped at the start of the year."),
    description="The aircraft itself.",
)

departure = RequestSource(
    name="departure",
    schema=[
        Field(name="scheduled_departure", dtype=UnixTimestamp),
        Field(name="scheduled_arrival", dtype=UnixTimestamp),
    ],
    description="The schedule, which whoever asks for a prediction knows.",
)


# Computed when it is asked for, by the same code in training and in serving. Nothing from outside
# the function is used: its source is what a model version is held to.
@on_demand_feature_view(
    name="schedule",
    sources=[departure],
    schema=[
        Field(name="departure_minute", dtype=Float64),
        Field(name="departure_weekday", dtype=Int64),
        Field(name="scheduled_minutes", dtype=Float64),
    ],
    mode="python",
    description="What the schedule says: minute of the day, weekday (Monday is 0), duration.",
)
def schedule(inputs: dict[str, Any]) -> dict[str, Any]:
    """Read the clock in New York's standard time, all year.

    The year was moved by whole weeks: weekdays and differences stay, but daylight saving does not
    move along. By a constant offset a departure keeps its hour.
    """
    from datetime import timedelta

    departures = [moment - timedelta(hours=5) for moment in inputs["scheduled_departure"]]
    spans = zip(inputs["scheduled_departure"], inputs["scheduled_arrival"], strict=True)
    return {
        "departure_minute": [60.0 * moment.hour + moment.minute for moment in departures],
        "departure_weekday": [moment.weekday() for moment in departures],
        "scheduled_minutes": [(end - start).total_seconds() / 60 for start, end in spans],
    }


# Selected one by one: a feature added to a view later must not change what version 1 reads.
flight_delay_v1 = FeatureService(
    name="flight_delay_v1",
    features=[
        airport_weather[
            [
                "weather_temperature_f",
                "weather_dew_point_f",
                "weather_humidity_pct",
                "weather_wind_direction_deg",
                "weather_wind_speed_mph",
                "weather_precipitation_in",
                "weather_pressure_mb",
                "weather_visibility_mi",
            ]
        ],
        airport_recent[
            [
                "airport_departed_2h",
                "airport_cancelled_2h",
                "airport_overdue_now",
                "airport_departure_delay_mean_2h",
                "airport_late_share_2h",
            ]
        ],
        aircraft_last_leg[
            [
                "leg_dest",
                "leg_departure_delay_min",
                "leg_arrival_delay_min",
                "leg_air_time_min",
            ]
        ],
        carrier_recent[
            [
                "carrier_departed_24h",
                "carrier_cancelled_share_24h",
                "carrier_departure_delay_mean_24h",
                "carrier_arrival_delay_mean_24h",
                "carrier_late_share_24h",
            ]
        ],
        route_history[
            [
                "route_arrived_28d",
                "route_arrival_delay_mean_28d",
                "route_late_share_28d",
                "route_very_late_share_28d",
                "route_distance_mi",
            ]
        ],
        plane[
            [
                "plane_age_years",
                "plane_seats",
                "plane_engines",
                "plane_engine_type",
                "plane_manufacturer",
            ]
        ],
        schedule,
    ],
    description="What version 1 of the flight-delay model reads.",
)
