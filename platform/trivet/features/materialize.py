"""Bring what has become known since the last time into the online store."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from feast import FeatureStore, FeatureView
from filelock import FileLock

from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.online_file import online_file
from trivet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Materialized:
    """One view's interval that was brought online."""

    view: str
    start: datetime
    end: datetime


def materialize(
    store: FeatureStore, settings: Settings, now: datetime, views: Collection[str] = ()
) -> Iterator[Materialized]:
    """Materialize online views up to `now`, one by one, yielding each as it is done.

    Starts where Feast's registry says that the last interval ended, but no further back than the TTL:
    what is older would be absent at its first read. One materialization runs at a time on a host.

    Args:
        store: of the project.
        settings: name the folder of the lock.
        now: the moment up to which values are known.
        views: names of feature views; none: all of them.

    Raises:
        BadSetting: the project has no such view; nothing was done.
        FeaturesUnavailable: Feast could not; views that were yielded are done.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home / "materialize.lock"):
        _allow_reads_while_writing(store)
        store.refresh_registry()  # type: ignore[no-untyped-call]
        for view in _chosen(store, views):
            yield _materialize_view(store, view, now)


def _chosen(store: FeatureStore, names: Collection[str]) -> list[FeatureView]:
    online = {view.name: view for view in store.list_batch_feature_views() if view.online}
    if unknown := set(names) - online.keys():
        raise BadSetting(
            f"{store.project} has no online feature view {', '.join(sorted(unknown))}.",
            hint=f"It has {', '.join(sorted(online))}.",
        )
    return [online[name] for name in sorted(names or online)]


def _materialize_view(store: FeatureStore, view: FeatureView, now: datetime) -> Materialized:
    start = _start(view, now)
    try:
        # Feast narrates on standard output, which belongs to a command's result.
        with contextlib.redirect_stdout(io.StringIO()):
            store.materialize(start, now, [view.name])
    except Exception as err:
        raise FeaturesUnavailable(
            f"{view.name} could not be materialized: {type(err).__name__}: {err}"
        ) from err
    return Materialized(view=view.name, start=start, end=now)


def _start(view: FeatureView, now: datetime) -> datetime:
    oldest_useful = now - view.ttl if view.ttl else now - timedelta(days=36_500)
    last = view.most_recent_end_time
    return oldest_useful if last is None else min(max(last, oldest_useful), now)


def _allow_reads_while_writing(store: FeatureStore) -> None:
    """Put an SQLite online store into write-ahead mode, which stays with the file.

    Feast leaves it in rollback mode, where a reader waits for the whole of a write.
    """
    path = online_file(store)
    if path is not None and path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
