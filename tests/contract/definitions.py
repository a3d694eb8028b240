"""The feature repository that every store is tried with: each kind of key, column, TTL and view."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
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
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

SERVICE = "all_v1"
PUSH = "readings_push"
READINGS_TTL = timedelta(hours=1)
GRADES_TTL = timedelta(days=1)

_STAMP = pa.timestamp("us", "UTC")
SCHEMAS = {
    "readings": pa.schema(
        {
            "sensor": pa.string(),
            "event_timestamp": _STAMP,
            "level": pa.float64(),
            "ratio": pa.float32(),
            "count": pa.int64(),
            "small": pa.int32(),
            "label": pa.string(),
            "open": pa.bool_(),
            "seen_at": _STAMP,
        }
    ),
    "visits": pa.schema(
        {
            "shop_id": pa.int64(),
            "sensor": pa.string(),
            "event_timestamp": _STAMP,
            "visits": pa.int64(),
        }
    ),
    "grades": pa.schema({"grade": pa.int32(), "event_timestamp": _STAMP, "points": pa.float64()}),
}
"""Of each view's Parquet file."""


def definitions(sources: Path) -> list[Any]:
    """Return everything that is to be applied, over the Parquet files in a folder."""
    sensor = Entity(name="sensor", join_keys=["sensor"], value_type=ValueType.STRING)
    shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
    grade = Entity(name="grade", join_keys=["grade"], value_type=ValueType.INT32)
    files = {
        name: FileSource(
            name=f"{name}_source",
            path=str(sources / f"{name}.parquet"),
            timestamp_field="event_timestamp",
        )
        for name in SCHEMAS
    }
    readings = FeatureView(
        name="readings",
        entities=[sensor],
        ttl=READINGS_TTL,
        schema=[
            Field(name="sensor", dtype=String),
            Field(name="level", dtype=Float64),
            Field(name="ratio", dtype=Float32),
            Field(name="count", dtype=Int64),
            Field(name="small", dtype=Int32),
            Field(name="label", dtype=String),
            Field(name="open", dtype=Bool),
            Field(name="seen_at", dtype=UnixTimestamp),
        ],
        source=PushSource(name=PUSH, batch_source=files["readings"]),
    )
    visits = FeatureView(
        name="visits",
        entities=[shop, sensor],
        ttl=timedelta(0),
        schema=[
            Field(name="shop_id", dtype=Int64),
            Field(name="sensor", dtype=String),
            Field(name="visits", dtype=Int64),
        ],
        source=files["visits"],
    )
    grades = FeatureView(
        name="grades",
        entities=[grade],
        ttl=GRADES_TTL,
        schema=[Field(name="grade", dtype=Int32), Field(name="points", dtype=Float64)],
        source=files["grades"],
    )
    asked = RequestSource(name="asked", schema=[Field(name="asked_level", dtype=Float64)])

    # Feast makes the function one of `__main__`, so each store gets a function of its own.
    @on_demand_feature_view(
        sources=[asked, readings[["level"]]],
        schema=[Field(name="above", dtype=Float64), Field(name="is_above", dtype=Bool)],
        mode="python",
    )
    def spread(inputs: dict[str, Any]) -> dict[str, Any]:
        """Compare a stored level with one that the request brings; None in, None out."""
        pairs = list(zip(inputs["asked_level"], inputs["level"], strict=True))
        return {
            "above": [None if a is None or b is None else float(a) - float(b) for a, b in pairs],
            "is_above": [None if a is None or b is None else bool(a > b) for a, b in pairs],
        }

    service = FeatureService(name=SERVICE, features=[readings, visits, grades, spread])
    return [sensor, shop, grade, readings, visits, grades, asked, spread, service]
