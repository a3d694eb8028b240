"""A read by Trivet is a read by Feast with the time to live enforced: on every store."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.definitions import READINGS_TTL
from contract.project import NOON, Project
from trivet.features.values import Features

NULLS = dict.fromkeys(["level", "ratio", "count", "small", "label", "open", "seen_at"])
SECOND = timedelta(seconds=1)


def plain(value: Any) -> Any:
    """Return Feast's value as Trivet has it: a NaN is a null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def why(features: Features) -> dict[tuple[int, str], str]:
    """Return why a value is absent, by row and column."""
    return {(value.row, value.column.name): value.why for value in features.absent}


@pytest.mark.parametrize("rows", [1, 16, 300])
def test_values_are_those_of_feast(project: Project, rows: int) -> None:
    """Known, unknown, null and doubled entities, by keys of each type and of two fields."""
    sensors = [project.name() for _ in range(rows)]
    shops, grades = [project.number() for _ in range(rows)], [project.number() for _ in range(rows)]
    project.learn(
        "readings",
        [
            project.row("readings", NOON, **{"sensor": name, **(NULLS if n % 5 == 4 else {})})
            for n, name in enumerate(sensors)
            if n % 4 != 3
        ],
        NOON,
    )
    pairs = list(zip(shops, sensors, strict=True))
    project.learn(
        "visits",
        [
            project.row("visits", NOON, shop_id=shop, sensor=name, visits=n)
            for n, (shop, name) in enumerate(pairs)
        ],
        NOON,
    )
    project.learn("grades", [project.row("grades", NOON, grade=grade) for grade in grades], NOON)
    keys = {
        "sensor": [*sensors, sensors[0]],
        "shop_id": [*shops, shops[0]],
        "grade": [*grades, grades[-1]],
    }
    ours, feasts = project.read(NOON, **keys), project.read_by_feast(**keys)
    for name, values in ours.values.items():
        assert values == [plain(value) for value in feasts[name]], name
        assert [type(v) for v in values] == [type(plain(v)) for v in feasts[name]], name
    assert ours.values["visits"] == [*range(rows), 0]
    assert None not in ours.values["points"]


def test_unknown_and_null_are_told_apart(project: Project) -> None:
    """A null was known at its time; of an unknown entity there is no time either."""
    known, empty, unknown = project.name(), project.name(), project.name()
    rows = [{"sensor": known}, {"sensor": empty, **NULLS}]
    project.learn("readings", [project.row("readings", NOON, **row) for row in rows], NOON)
    found = project.read(NOON + SECOND, sensor=[known, empty, unknown])
    absent = {key: reason for key, reason in why(found).items() if key[1] in NULLS}
    assert absent == {
        **{(1, name): "null" for name in NULLS},
        **{(2, name): "missing" for name in NULLS},
    }
    assert found.event_times["readings"] == [NOON, NOON, None]
    ages = {v.row: v.age_seconds for v in found.absent if v.column.name == "level"}
    assert ages == {1: 1.0, 2: None}


def test_an_entity_of_another_view_only_is_missing(project: Project) -> None:
    """Redis has both views in one hash: what one of them lacks must not look like a null."""
    shop, sensor = project.number(), project.name()
    project.learn("visits", [project.row("visits", NOON, shop_id=shop, sensor=sensor)], NOON)
    found = project.read(NOON, sensor=[sensor], shop_id=[shop])
    assert found.values["visits"] == [7]
    assert {why(found)[0, name] for name in NULLS} == {"missing"}


def test_feast_gives_an_unknown_entity_away_by_its_time_at_least(project: Project) -> None:
    """Its Redis store returns a row of nulls of the epoch, where the others return none."""
    unknown = project.reader._views[0]._keys.of_feast([project.name()], {})
    view = project.store.get_feature_view("readings")
    online = project.store.provider.online_store
    ((moment, values),) = online.online_read(project.store.config, view, unknown, ["level"])
    if project.online.knows_rows:
        assert (moment, values) == (None, None)
    else:
        assert (moment, set(values)) == (datetime.fromtimestamp(0, UTC), {"level"})


def test_a_value_expires_when_it_is_older_than_its_ttl(project: Project) -> None:
    """The limit itself still counts, and one step of the clock later nothing is left."""
    sensor = project.name()
    project.learn("readings", [project.row("readings", NOON, sensor=sensor)], NOON)
    last = NOON + READINGS_TTL
    assert project.read(last, sensor=[sensor]).values["level"] == [20.5]
    late = project.read(last + timedelta(microseconds=1), sensor=[sensor])
    assert {name: late.values[name] for name in NULLS} == {name: [None] for name in NULLS}
    assert {why(late)[0, name] for name in NULLS} == {"expired"}
    assert late.event_times["readings"] == [NOON]


def test_a_value_of_a_view_without_ttl_never_expires(project: Project) -> None:
    """Ten years later it is what it was."""
    shop, sensor = project.number(), project.name()
    project.learn("visits", [project.row("visits", NOON, shop_id=shop, sensor=sensor)], NOON)
    decade = NOON + timedelta(days=3650)
    assert project.read(decade, sensor=[sensor], shop_id=[shop]).values["visits"] == [7]


def test_time_passes_and_the_next_read_follows_it(project: Project) -> None:
    """One reader, one stored value, three moments; a new value brings the entity back."""
    sensor = project.name()
    project.learn("readings", [project.row("readings", NOON, sensor=sensor, count=1)], NOON)
    moments = [NOON, NOON + READINGS_TTL, NOON + READINGS_TTL + SECOND]
    seen = [project.read(moment, sensor=[sensor]).values["count"][0] for moment in moments]
    assert seen == [1, 1, None]
    again = moments[-1]
    project.learn("readings", [project.row("readings", again, sensor=sensor, count=2)], again)
    assert project.read(again, sensor=[sensor]).values["count"] == [2]


def test_an_event_timestamp_is_kept_as_finely_as_the_store_can(project: Project) -> None:
    """Where it keeps whole seconds, a value expires up to one second early, and never late."""
    sensor, fraction = project.name(), timedelta(microseconds=999_999)
    known = NOON + fraction
    project.learn("readings", [project.row("readings", known, sensor=sensor)], known)
    kept = NOON if project.online.resolution == SECOND else known
    assert project.read(known, sensor=[sensor]).event_times["readings"] == [kept]
    assert project.read(kept + READINGS_TTL, sensor=[sensor]).values["level"] == [20.5]
    too_late = project.read(known + READINGS_TTL + timedelta(microseconds=1), sensor=[sensor])
    assert too_late.values["level"] == [None]


def test_a_timestamp_among_the_features_is_kept_in_whole_seconds(project: Project) -> None:
    """Feast has no finer type for it; the offline store does."""
    sensor, seen_at = project.name(), NOON - timedelta(microseconds=1)
    row = project.row("readings", NOON, sensor=sensor, seen_at=seen_at)
    project.learn("readings", [row], NOON)
    found = project.read(NOON, sensor=[sensor])
    assert found.values["seen_at"] == [NOON - SECOND]
