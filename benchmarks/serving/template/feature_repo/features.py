"""Four feature views over two keys; how many features they share stands in shape.json."""

import json
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

_HERE = Path(__file__).resolve().parent
_DATA = _HERE.parent / "data"
_SHAPE = json.loads((_HERE / "shape.json").read_text())

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)

_SOURCES = {
    key: FileSource(
        name=f"{key}s", path=str(_DATA / f"{key}s.parquet"), timestamp_field="event_timestamp"
    )
    for key in ("user", "item")
}
_KEYS = {
    "user": (user, Field(name="user_id", dtype=String)),
    "item": (item, Field(name="item_id", dtype=Int64)),
}


def _view(name: str) -> FeatureView:
    key = name.partition("_")[0]
    entity, field = _KEYS[key]
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(days=30),
        schema=[field, *(Field(name=feature, dtype=Float64) for feature in _SHAPE[name])],
        source=_SOURCES[key],
    )


user_now, user_lately = _view("user_now"), _view("user_lately")
item_now, item_lately = _view("item_now"), _view("item_lately")
forest_v1 = FeatureService(
    name="forest_v1", features=[user_now, user_lately, item_now, item_lately]
)
