"""How fresh what is online is, view by view: what was brought, what waits, and what has expired."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc
import pyarrow.dataset as ds
from feast import FeatureStore, FeatureView, FileSource

from trivet.errors import FeaturesUnavailable
from trivet.features.online_file import online_file
from trivet.features.segments import read_source

State = Literal["fresh", "late", "stale", "never"]
"""Nothing newer is known; its source has newer values, which `trivet materialize` brings; the newest
value is older than its TTL, so that every read is absent; nothing is online."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What is known of one view online at a moment."""

    view: str
    ttl_seconds: float | None
    materialized_until: datetime | None
    """End of the newest interval in Feast's registry."""
    newest: datetime | None
    """Newest event time online: read from an SQLite store; elsewhere what the source has up to the
    end of that interval. None where neither can be told cheaply."""
    waiting_since: datetime | None
    """Oldest value of the source that is not online yet; None: nothing waits, or it is not known."""
    state: State

    def age(self, now: datetime) -> timedelta | None:
        """Return how old the newest value is."""
        return None if self.newest is None else now - self.newest


def read_freshness(store: FeatureStore, now: datetime) -> tuple[Freshness, ...]:
    """Judge every online view of the project.

    Reads the registry, and of each view one maximum online and one column of its source, of which
    Parquet's statistics let most be skipped.

    Raises:
        FeaturesUnavailable: the registry does not answer.
    """
    views = online_views(store)
    with _online_tables(store) as online:
        return tuple(_judge(store, view, online, now) for view in views)


def online_views(store: FeatureStore) -> list[FeatureView]:
    """Return the feature views that the registry says are served online, by name.

    Raises:
        FeaturesUnavailable: the registry does not answer.
    """
    try:
        store.refresh_registry()  # type: ignore[no-untyped-call]
        views = [view for view in store.list_batch_feature_views() if view.online]
    except Exception as err:
        raise FeaturesUnavailable(f"The feature registry does not answer: {err}") from err
    return sorted(views, key=lambda view: view.name)


def _judge(
    store: FeatureStore, view: FeatureView, online: sqlite3.Connection | None, now: datetime
) -> Freshness:
    until = _aware(view.most_recent_end_time)
    if online is not None:
        newest = _newest_online(online, f"{store.project}_{view.name}")
    else:
        newest = None if until is None else _edge(view, None, min(until, now), "max")
    # Not the newest one online: who pushes has values before its source does.
    waiting = None if until is None else _edge(view, until, now, "min")
    ttl = view.ttl.total_seconds() if view.ttl else None
    return Freshness(
        view=view.name,
        ttl_seconds=ttl,
        materialized_until=until,
        newest=newest,
        waiting_since=waiting,
        state=_state(until, newest or until, waiting, ttl, now),
    )


def _state(
    until: datetime | None,
    newest: datetime | None,
    waiting: datetime | None,
    ttl: float | None,
    now: datetime,
) -> State:
    if newest is None:
        return "never"
    if ttl is not None and (now - newest).total_seconds() > ttl:
        return "stale"
    # Pushed only: its values are online, and the source's never were.
    return "late" if waiting is not None or until is None else "fresh"


@contextlib.contextmanager
def _online_tables(store: FeatureStore) -> Iterator[sqlite3.Connection | None]:
    path = online_file(store)
    if path is None or not path.exists():
        yield None
        return
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def _newest_online(online: sqlite3.Connection, table: str) -> datetime | None:
    try:
        (seconds,) = online.execute(f'SELECT max(event_ts) FROM "{table}"').fetchone()  # noqa: S608
    except sqlite3.OperationalError:  # no such table
        return None
    # Feast stores a time without a zone, which it takes for local, as seconds.
    return None if seconds is None else datetime.fromtimestamp(seconds).replace(tzinfo=UTC)  # noqa: DTZ006


def _edge(
    view: FeatureView, after: datetime | None, until: datetime, edge: Literal["min", "max"]
) -> datetime | None:
    """Return the oldest or newest event time of a view's source in `(after, until]`, or None."""
    source = view.batch_source
    if not isinstance(source, FileSource) or not Path(source.path).exists():
        return None
    try:
        return read_source(source.path, lambda files: _edge_of(files, source, after, until, edge))
    except (OSError, ValueError, KeyError):  # pyarrow's own errors are kinds of these
        return None


def _edge_of(
    files: list[str],
    source: FileSource,
    after: datetime | None,
    until: datetime,
    edge: Literal["min", "max"],
) -> datetime | None:
    table = ds.dataset(files if len(files) > 1 else files[0], format="parquet")
    moment = ds.field(source.timestamp_field)
    kind = table.schema.field(source.timestamp_field).type
    chosen = moment <= _scalar(until, kind)
    if after is not None:
        chosen &= moment > _scalar(after, kind)
    times = table.to_table(columns=[source.timestamp_field], filter=chosen).column(0)
    return _aware(pc.min_max(times)[edge].as_py())


def _scalar(moment: datetime, kind: object) -> object:
    import pyarrow as pa

    zoned = isinstance(kind, pa.TimestampType) and kind.tz is not None
    return pa.scalar(moment if zoned else moment.astimezone(UTC).replace(tzinfo=None), type=kind)


def _aware(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
