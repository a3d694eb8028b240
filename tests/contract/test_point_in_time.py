"""Online after materialization up to a moment is offline as of that moment; neither sees the future."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.definitions import READINGS_TTL, SCHEMAS
from contract.project import NOON, Project
from trivet.features.folding import fold
from trivet.features.segments import append

FEATURES = ["level", "count", "label", "open", "seen_at", "visits"]
ENTITIES = 8

# How far an event is from the moment, and which of its values are null. The moments at which
# something changes come as often as all others together; a step is the store's finest.
steps = st.sampled_from([(0, 0), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1)])
"""Times to live before the moment, and steps after that."""
distances = steps | st.integers(-10_000, 3_000).map(lambda seconds: seconds)
events = st.dictionaries(distances, st.sets(st.sampled_from(FEATURES)), max_size=5)
histories = st.lists(events, min_size=ENTITIES, max_size=ENTITIES)


@settings(settings.get_profile("stores"))
@given(histories=histories, fraction=st.integers(0, 999_999))
def test_online_is_offline_at_the_moment_it_was_materialized_up_to(
    project: Project, histories: list[Mapping[Any, set[str]]], fraction: int
) -> None:
    """For entities with any history of values, nulls and gaps, and for ones without."""
    step = project.online.resolution
    moment = NOON + fraction // (step // timedelta(microseconds=1)) * step
    sensors = [project.name() for _ in histories]
    rows = [
        {"sensor": sensor, "event_timestamp": at, "nulls": nulls}
        for sensor, history in zip(sensors, histories, strict=True)
        for at, nulls in {_when(moment, step, d): nulls for d, nulls in history.items()}.items()
    ]
    shop = project.number()
    project.learn("readings", [_reading(project, row, moment) for row in rows], moment)
    project.learn("visits", [_visit(row, shop, moment) for row in rows], moment)

    online = project.read(moment, sensor=sensors, shop_id=[shop] * ENTITIES).values
    offline = _offline(project, sensors, shop, moment)
    assert {name: online[name] for name in FEATURES} == offline
    assert all(value is None or value <= 0 for value in [*online["count"], *online["visits"]])


@settings(settings.get_profile("stores"), max_examples=4)
@given(histories=histories, data=st.data())
def test_rows_that_were_appended_are_the_source_s_as_those_of_its_file_are(
    project: Project, histories: list[Mapping[Any, set[str]]], data: st.DataObject
) -> None:
    """By Trivet before and after they are folded into the file, and by Feast after it."""
    sensors = [project.name() for _ in histories]
    step = project.online.resolution
    rows = [
        _reading(project, {"sensor": sensor, "event_timestamp": at, "nulls": nulls}, NOON)
        for sensor, history in zip(sensors, histories, strict=True)
        for at, nulls in {_when(NOON, step, d): nulls for d, nulls in history.items()}.items()
    ]
    where = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    file = project.settings.root / "readings.parquet"
    parts = [[row for row, n in zip(rows, where, strict=True) if n == part] for part in range(3)]
    project.write("readings", parts[0])
    for part in parts[1:]:
        append(file, pa.Table.from_pylist(part, SCHEMAS["readings"]))
    names = [name for name in FEATURES if name != "visits"]
    asked = [(sensor, NOON) for sensor in sensors]
    appended = project.as_of(names, asked)
    fold(file)
    assert project.as_of(names, asked) == appended
    offline = _offline(project, sensors, project.number(), NOON)
    assert {name: offline[name] for name in names} == appended


def _when(moment: datetime, step: timedelta, distance: tuple[int, int] | int) -> datetime:
    if isinstance(distance, int):
        return moment + timedelta(seconds=distance)
    ttls, steps = distance
    return moment + ttls * READINGS_TTL + steps * step


def _reading(project: Project, row: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    """Return a row whose numbers say how far from the moment it is: above 0 is its future."""
    at = row["event_timestamp"]
    known = project.row(
        "readings",
        at,
        sensor=row["sensor"],
        count=(at - moment) // timedelta(microseconds=1),
        label=at.isoformat(),
        seen_at=at.replace(microsecond=0),
    )
    return known | dict.fromkeys(row["nulls"] & known.keys())


def _visit(row: Mapping[str, Any], shop: int, moment: datetime) -> dict[str, Any]:
    at = row["event_timestamp"]
    visits = None if "visits" in row["nulls"] else (at - moment) // timedelta(microseconds=1)
    return {"shop_id": shop, "sensor": row["sensor"], "event_timestamp": at, "visits": visits}


def _offline(
    project: Project, sensors: list[str], shop: int, moment: datetime
) -> dict[str, list[Any]]:
    """Return what Feast's own retrieval has for the sensors, in their order, None where nothing."""
    entities = pd.DataFrame({"sensor": sensors, "shop_id": shop, "event_timestamp": moment})
    names = [c.source for c in project.contract.columns if c.name in FEATURES]
    found = project.store.get_historical_features(entities, names).to_arrow().to_pandas()
    ordered = found.set_index("sensor").loc[sensors, FEATURES].astype(object)
    values = ordered.where(ordered.notna(), None).to_dict("list")
    return {name: [_plain(value) for value in column] for name, column in values.items()}


def _plain(value: Any) -> Any:
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
