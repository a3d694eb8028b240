"""Pushed events end the same in whatever order they come, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.definitions import PUSH, SCHEMAS
from contract.project import NOON, Project
from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features import push as pushing
from trivet.features.materialize import materialize
from trivet.features.online_write import Written, write_in_order
from trivet.features.push import Pusher, push
from trivet.features.reader import OnlineReader
from trivet.features.segments import read_source

SECOND = timedelta(seconds=1)

Event = tuple[int, int]
"""Of which of a few entities, and at which second."""
batches = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-4, 0)), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
)


def clock() -> datetime:
    """Return the present moment of all tests."""
    return NOON


def send(project: Project, *events: tuple[str, datetime, int | None], **options) -> Written:
    """Push events: sensor, moment, count."""
    rows = [project.row("readings", at, sensor=name, count=count) for name, at, count in events]
    return push(project.store, project.settings, PUSH, project.frame(rows), clock=clock, **options)


def counts(project: Project, *sensors: str) -> list[int | None]:
    """Return what is online."""
    return project.read(NOON, sensor=sensors).values["count"]


def materialize_again(project: Project, rows: Sequence[dict[str, object]]) -> None:
    """Change the source, and materialize by Trivet whatever a TTL before the present is."""
    project.write("readings", rows)
    store, options = project.open(), {"views": ["readings"], "again": True}
    list(materialize(store, project.settings, NOON, **options))


def test_a_pushed_value_is_read_by_whoever_has_the_store_open(project: Project) -> None:
    """With its own event timestamp, all columns of it."""
    sensor, elsewhere = project.name(), OnlineReader(project.open(), project.contract)
    keys = {"sensor": [sensor], "shop_id": [-1], "grade": [-1]}
    assert elsewhere.read(keys, NOON).values["count"] == [None]
    assert send(project, (sensor, NOON - SECOND, 5)) == Written(written=1)
    found = elsewhere.read(keys, NOON)
    assert found.event_times["readings"] == [NOON - SECOND]
    row = project.row("readings", NOON, sensor=sensor, count=5)
    names = row.keys() - {"sensor", "event_timestamp", "ratio"}
    assert {name: found.values[name] for name in names} == {name: [row[name]] for name in names}


def test_an_older_event_does_not_replace_a_newer_one(project: Project) -> None:
    """Whichever is pushed first; it is counted and left out."""
    sensor = project.name()
    assert send(project, (sensor, NOON, 2)) == Written(written=1)
    assert send(project, (sensor, NOON - SECOND, 1)) == Written(older=1)
    assert counts(project, sensor) == [2]


def test_a_correction_replaces_what_it_corrects(project: Project) -> None:
    """It has the same event timestamp and comes later; a null corrects as well as a value."""
    sensor = project.name()
    send(project, (sensor, NOON, 2))
    assert send(project, (sensor, NOON, 3)) == Written(corrected=1)
    assert counts(project, sensor) == [3]
    assert send(project, (sensor, NOON, None)) == Written(corrected=1)
    assert counts(project, sensor) == [None]


def test_materialization_does_not_bring_the_past_back(project: Project) -> None:
    """What was pushed since is newer than the source's latest row; an older value gives way."""
    ahead, behind = project.name(), project.name()
    send(project, (ahead, NOON, 2), (behind, NOON - 2 * SECOND, 2))
    rows = [
        project.row("readings", NOON - SECOND, sensor=name, count=1) for name in (ahead, behind)
    ]
    materialize_again(project, rows)
    assert counts(project, ahead, behind) == [2, 1]


def test_a_correction_in_the_source_comes_online(project: Project) -> None:
    """When its time is materialized again: Redis by itself would keep the first value."""
    sensor = project.name()
    project.learn("readings", [project.row("readings", NOON, sensor=sensor, count=1)], NOON)
    materialize_again(project, [project.row("readings", NOON, sensor=sensor, count=2)])
    assert counts(project, sensor) == [2]


def test_within_a_batch_the_latest_event_counts(project: Project) -> None:
    """To the microsecond on every store, and of equal moments the last row."""
    sensor, twin = project.name(), project.name()
    earlier = NOON - timedelta(microseconds=1)
    done = send(project, (sensor, NOON, 2), (sensor, earlier, 1), (twin, NOON, 1), (twin, NOON, 2))
    assert done == Written(written=2, older=2)
    assert counts(project, sensor, twin) == [2, 2]


def test_between_batches_events_are_as_far_apart_as_the_store_can_tell(project: Project) -> None:
    """Where it keeps whole seconds, what comes later within one second counts as its correction."""
    sensor = project.name()
    send(project, (sensor, NOON - timedelta(microseconds=1), 2))
    done = send(project, (sensor, NOON - timedelta(microseconds=2), 1))
    if project.online.resolution == SECOND:
        assert (done, counts(project, sensor)) == (Written(corrected=1), [1])
    else:
        assert (done, counts(project, sensor)) == (Written(older=1), [2])


@settings(settings.get_profile("stores"), max_examples=12)
@given(batches=batches)
def test_any_order_of_events_ends_with_the_latest_of_each_entity(
    project: Project, batches: list[list[Event]]
) -> None:
    """Of several of one moment the last that was pushed, over any batches, with exact counts."""
    sensors = [project.name() for _ in range(3)]
    expected: dict[int, tuple[int, int]] = {}
    number, total, left_out = 0, Written(), 0
    for batch in batches:
        events = []
        for entity, second in batch:
            number += 1
            events.append((sensors[entity], NOON + second * SECOND, number))
            if entity not in expected or second >= expected[entity][0]:
                expected[entity] = (second, number)
        total += send(project, *events)
        left_out += len(batch)
    assert counts(project, *sensors) == [expected.get(n, (0, None))[1] for n in range(3)]
    assert total.written + total.corrected + total.older == left_out


def test_a_value_without_any_feature_is_written_too(project: Project) -> None:
    """Feast's own push leaves such a row out, and the one before it would stay for ever."""
    sensor = project.name()
    send(project, (sensor, NOON - SECOND, 1))
    nulls = dict.fromkeys(["level", "ratio", "count", "small", "label", "open", "seen_at"])
    rows = project.frame([project.row("readings", NOON, **{"sensor": sensor, **nulls})])
    push(project.store, project.settings, PUSH, rows, clock=clock)
    found = project.read(NOON, sensor=[sensor])
    assert found.event_times["readings"] == [NOON]
    assert {v.why for v in found.absent if v.column.view == "readings"} == {"null"}


def test_many_events_go_in_one_push(project: Project) -> None:
    """More than are written at a time."""
    sensors = [project.name() for _ in range(2300)]
    events = [(sensor, NOON, number) for number, sensor in enumerate(sensors)]
    assert send(project, *events) == Written(written=2300)
    assert counts(project, *sensors) == [*range(2300)]


def test_two_who_push_at_once_do_not_bring_the_past_back(project: Project) -> None:
    """Each looks what is there and writes, while the other waits."""
    sensor = project.name()
    pushers = [Pusher(project.open(), project.settings, PUSH, clock) for _ in range(2)]

    def push_all(pusher: Pusher, seconds: Sequence[int]) -> None:
        for second in seconds:
            row = project.row("readings", NOON + second * SECOND, sensor=sensor, count=second)
            pusher.push(project.frame([row]))

    with ThreadPoolExecutor(2) as threads:
        orders = [range(-20, 1), range(0, -21, -1)]
        list(threads.map(push_all, pushers, orders))
    assert counts(project, sensor) == [0]


def test_pushed_offline_too_it_is_found_as_of_its_moment(project: Project) -> None:
    """Older events are left out online only: offline they are the history.

    By Trivet at once, and by Feast itself from the next materialization on.
    """
    sensor = project.name()
    project.learn("readings", [project.row("readings", NOON, sensor=project.name())], NOON)
    send(project, (sensor, NOON, 2), (sensor, NOON - SECOND, 1), to="online_and_offline")
    moments = [NOON, NOON - SECOND, NOON - 2 * SECOND]
    asked = [(sensor, moment) for moment in moments]
    assert project.counts_as_of(asked) == [2, 1, None]
    assert counts(project, sensor) == [2]
    list(materialize(project.open(), project.settings, NOON, ["readings"]))
    entities = pd.DataFrame({"sensor": sensor, "event_timestamp": moments})
    found = project.store.get_historical_features(entities, ["readings:count"]).to_df()
    found = found.set_index("event_timestamp").loc[moments, "count"]
    assert found.fillna(-1).tolist() == [2, 1, -1]
    assert project.counts_as_of(asked) == [2, 1, None]


def test_while_the_online_store_is_down_nothing_is_appended(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten tries, and one that works: each row is offline once."""
    sensor, down = project.name(), [ConnectionError("down")] * 10
    project.learn("readings", [project.row("readings", NOON, sensor=project.name())], NOON)

    def write(*args: Any) -> Written:
        if down:
            raise down.pop()
        return write_in_order(*args)

    monkeypatch.setattr(pushing, "write_in_order", write)
    events = [(sensor, NOON, 2), (sensor, NOON - SECOND, 1)]
    for _ in range(10):
        with pytest.raises(FeaturesUnavailable, match="down"):
            send(project, *events, to="online_and_offline")
    send(project, *events, to="online_and_offline")
    source = project.settings.root / "readings.parquet"
    rows = read_source(source, lambda files: pa.concat_tables(map(pq.read_table, files)))
    assert rows["sensor"].to_pylist().count(sensor) == 2
    assert counts(project, sensor) == [2]


def test_offline_too_the_last_correction_counts(project: Project) -> None:
    """Of one moment: within a push, between two, and over what the file has; folded or not."""
    sensor, twin = project.name(), project.name()
    rows = [project.row("readings", NOON, sensor=name, count=1) for name in (sensor, twin)]
    project.learn("readings", rows, NOON)
    send(project, (sensor, NOON, 2), (sensor, NOON, 3), to="online_and_offline")
    send(project, (twin, NOON, 2), to="online_and_offline")
    send(project, (twin, NOON, None), to="online_and_offline")
    asked = [(sensor, NOON), (twin, NOON)]
    assert project.counts_as_of(asked) == counts(project, sensor, twin) == [3, None]
    list(materialize(project.open(), project.settings, NOON, ["readings"]))
    assert project.counts_as_of(asked) == [3, None]


def test_what_the_source_s_file_cannot_hold_is_refused(project: Project) -> None:
    """It may have columns that no feature is made of: before anything is written online."""
    sensor = project.name()
    plain = SCHEMAS["readings"].empty_table()
    wider = plain.append_column("battery", pa.array([], pa.float64()))
    file = project.settings.root / "readings.parquet"
    rows = project.frame([project.row("readings", NOON, sensor=sensor)])
    options = {"to": "online_and_offline", "clock": clock}
    pq.write_table(wider, file)
    with pytest.raises(BadSetting, match="The rows lack battery, which their source has"):
        push(project.store, project.settings, PUSH, rows, **options)
    with pytest.raises(BadSetting, match="The rows do not fit their source"):
        push(project.store, project.settings, PUSH, rows.assign(battery="full"), **options)
    counted = plain.append_column("total", pa.array([], pa.int64()))
    pq.write_table(counted, file)
    twice = pd.concat([rows, rows], ignore_index=True).assign(total=[2**64 - 1, -1])
    with pytest.raises(BadSetting, match="Python int too large"):
        push(project.store, project.settings, PUSH, twice, **options)
    pq.write_table(plain, file)
    assert counts(project, sensor) == [None]


def test_nothing_is_nothing(project: Project) -> None:
    """A batch may be empty."""
    rows = project.frame([project.row("readings", NOON, sensor="s")]).iloc[:0]
    assert push(project.store, project.settings, PUSH, rows, clock=clock) == Written()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": ...}, "The rows for readings lack count"),
        ({"sensor": None}, "have a null sensor"),
        ({"event_timestamp": pd.NaT}, "have a null event_timestamp"),
        ({"event_timestamp": NOON + timedelta(hours=1)}, "which is yet to come"),
        ({"event_timestamp": NOON.replace(year=1600)}, "An event timestamp for readings is none"),
        ({"event_timestamp": NOON.replace(year=9999)}, "An event timestamp for readings is none"),
        ({"count": "many"}, "The rows for readings do not fit its types"),
    ],
)
def test_rows_that_cannot_be_right_are_refused(
    project: Project, change: dict[str, object], sentence: str
) -> None:
    """All of them, before any is written: an event of the future would hold off all before it."""
    good, bad = project.name(), project.name()
    rows = [project.row("readings", NOON, sensor=name) for name in (good, bad)]
    rows[1] |= change
    frame = project.frame(rows)
    if ... in change.values():
        frame = frame.drop(columns=list(change))
    with pytest.raises(BadSetting, match=sentence):
        push(project.store, project.settings, PUSH, frame, clock=clock)
    assert counts(project, good) == [None]


def test_an_unknown_push_source_is_named_with_those_there_are(project: Project) -> None:
    """A misspelt one, mostly."""
    with pytest.raises(BadSetting, match=f"no feature view with the push source x. It has {PUSH}"):
        push(project.store, project.settings, "x", project.frame([]), clock=clock)
