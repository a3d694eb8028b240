"""From the contract's columns to the model's: stored with every version, used in training and serving.

Self-contained: nothing of this folder is imported.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

PASSED_ON = (
    "carrier",
    "origin",
    "weather_temperature_f",
    "weather_dew_point_f",
    "weather_humidity_pct",
    "weather_wind_speed_mph",
    "weather_precipitation_in",
    "weather_pressure_mb",
    "weather_visibility_mi",
    "airport_departed_2h",
    "airport_cancelled_2h",
    "airport_overdue_now",
    "airport_departure_delay_mean_2h",
    "airport_late_share_2h",
    "leg_departure_delay_min",
    "leg_arrival_delay_min",
    "leg_air_time_min",
    "carrier_departed_24h",
    "carrier_cancelled_share_24h",
    "carrier_departure_delay_mean_24h",
    "carrier_arrival_delay_mean_24h",
    "carrier_late_share_24h",
    "route_arrived_28d",
    "route_arrival_delay_mean_28d",
    "route_late_share_28d",
    "route_very_late_share_28d",
    "route_distance_mi",
    "plane_age_years",
    "plane_seats",
    "departure_minute",
    "scheduled_minutes",
)


def preprocess(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Turn the wind's direction into a vector: 359 degrees are next to 1, not far from it.

    Args:
        columns: n values each, as the contract names them; absent numbers are NaN.

    Returns:
        Numbers as float64 [n], `carrier` and `origin` as strings [n].
    """
    direction = np.radians(columns["weather_wind_direction_deg"])
    return {
        **{name: columns[name] for name in PASSED_ON},
        "departure_weekday": columns["departure_weekday"].astype(np.float64),
        "wind_from_north": np.cos(direction),
        "wind_from_east": np.sin(direction),
    }
