"""Through the cache come the same values as past it, for as long as is allowed: on every store."""

from __future__ import annotations

from datetime import timedelta

from contract.definitions import READINGS_TTL
from contract.project import NOON, Project
from trivet.features.cache import RowCache
from trivet.features.reader import OnlineReader

STALENESS = timedelta(seconds=5)
STEP = timedelta(microseconds=1)
NOBODY = {"shop_id": [-1], "grade": [-1]}


def caching(project: Project) -> OnlineReader:
    """Return a reader with a cache of its own, as in another worker."""
    cache = RowCache(STALENESS.total_seconds(), 1000)
    return OnlineReader(project.open(), project.contract, cache=cache)


def test_cached_rows_are_those_of_the_store(project: Project) -> None:
    """Known, unknown and null ones, of every type and key; the second time without a read."""
    names = [project.name() for _ in range(20)]
    null = dict.fromkeys(["level", "ratio", "count", "small", "label", "open", "seen_at"])
    rows = [
        project.row("readings", NOON, **{"sensor": name, **(null if n % 5 == 4 else {})})
        for n, name in enumerate(names)
        if n % 4 != 3
    ]
    project.learn("readings", rows, NOON)
    keys = {"sensor": names, **{name: nobody * 20 for name, nobody in NOBODY.items()}}
    reader = caching(project)
    assert reader.recall(keys, NOON) is None
    past, through = project.reader.read(keys, NOON), reader.read(keys, NOON)
    found = reader.recall(keys, NOON)
    assert found is not None
    for features in (through, reader.judge(found, NOON)):
        assert features.values == past.values
        assert features.absent == past.absent
        assert features.event_times == past.event_times


def test_what_is_written_is_seen_within_the_staleness_by_every_worker(project: Project) -> None:
    """And not before it is due, which shows that it is the cache that answers."""
    sensor = project.name()
    keys = {"sensor": [sensor], **NOBODY}
    workers = [caching(project) for _ in range(2)]
    for worker in workers:
        assert worker.read(keys, NOON).values["count"] == [None]
    project.learn("readings", [project.row("readings", NOON, sensor=sensor, count=9)], NOON)
    last = NOON + STALENESS - STEP
    for worker in workers:
        assert worker.read(keys, last).values["count"] == [None]
        assert worker.read(keys, NOON + STALENESS).values["count"] == [9]


def test_a_cached_value_expires_on_time(project: Project) -> None:
    """Its TTL is held against every use, whenever it was read."""
    sensor = project.name()
    project.learn("readings", [project.row("readings", NOON, sensor=sensor)], NOON)
    keys, last = {"sensor": [sensor], **NOBODY}, NOON + READINGS_TTL
    reader = caching(project)
    assert reader.read(keys, last).values["level"] == [20.5]
    found = reader.recall(keys, last + STEP)
    assert found is not None
    judged = reader.judge(found, last + STEP)
    assert judged.values["level"] == [None]
    assert {a.why for a in judged.absent if a.column.view == "readings"} == {"expired"}


def test_a_read_can_be_had_past_the_cache(project: Project) -> None:
    """Readiness asks the store itself; what it reads is kept for others."""
    sensor = project.name()
    keys, reader = {"sensor": [sensor], **NOBODY}, caching(project)
    assert reader.read(keys, NOON).values["count"] == [None]
    project.learn("readings", [project.row("readings", NOON, sensor=sensor, count=4)], NOON)
    assert reader.judge(reader.fetch(keys, NOON, anew=True), NOON).values["count"] == [4]
    assert reader.read(keys, NOON).values["count"] == [4]
