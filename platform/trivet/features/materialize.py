"""Bring what has become known since the last time into the online store.

Feast records a view's interval after the last of its rows is written. Whatever ends a materialization
before that, the next one begins where the last *finished* one ended, and writes the rows again.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from feast import FeatureStore, FeatureView

from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.folding import fold
from trivet.features.lock import writing_features
from trivet.features.offline_file import offline_file
from trivet.features.online_file import allow_reads_while_writing
from trivet.features.online_write import write_in_order
from trivet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Materialized:
    """One view's interval that was brought online."""

    view: str
    start: datetime
    end: datetime
    rows: int
    """Entities whose values were written: the newest of each in the interval."""


class Watcher:
    """Is told how a materialization goes; this one does nothing with it."""

    def waiting(self) -> None:
        """Another process of this host materializes or applies features."""

    def begins(self, view: str, number: int, of: int) -> None:
        """The first rows of a view are about to be read; it is the `number`th, from 1."""

    def wrote(self, view: str, rows: int, of: int) -> None:
        """`rows` of a view's `of` rows are written."""


def materialize(
    store: FeatureStore,
    settings: Settings,
    now: datetime,
    views: Collection[str] = (),
    *,
    again: bool = False,
    watcher: Watcher | None = None,
) -> Iterator[Materialized]:
    """Materialize online views up to `now`, one by one, yielding each as it is done.

    Starts where Feast's registry says that the last interval ended, but no further back than the TTL:
    what is older would be absent at its first read. One materialization runs at a time on a host; a
    second one waits, and then finds what the first has done.

    Args:
        store: of the project.
        settings: name the folder of the lock.
        now: the moment up to which values are known.
        views: names of feature views; none: all of them.
        again: start as far back as the TTL reaches, whatever was materialized before.
        watcher: is told of each step.

    Raises:
        BadSetting: the project has no such view; nothing was done.
        FeaturesUnavailable: Feast could not; views that were yielded are done.
    """
    watcher = watcher or Watcher()
    with writing_features(store, settings, watcher.waiting):
        allow_reads_while_writing(store)
        chosen = _chosen(store, views)
        for number, view in enumerate(chosen, start=1):
            watcher.begins(view.name, number, len(chosen))
            start = _oldest_useful(view, now) if again else _start(view, now)
            yield _materialize_view(store, settings, view, start=start, now=now, watcher=watcher)


def _chosen(store: FeatureStore, names: Collection[str]) -> list[FeatureView]:
    online = {view.name: view for view in store.list_batch_feature_views() if view.online}
    if unknown := set(names) - online.keys():
        raise BadSetting(
            f"{store.project} has no online feature view {', '.join(sorted(unknown))}.",
            hint=f"It has {', '.join(sorted(online))}.",
        )
    return [online[name] for name in sorted(names or online)]


def _materialize_view(
    store: FeatureStore,
    settings: Settings,
    view: FeatureView,
    *,
    start: datetime,
    now: datetime,
    watcher: Watcher,
) -> Materialized:
    counted = _Counted(lambda rows, of: watcher.wrote(view.name, rows, of))
    try:
        if file := offline_file(store, view):
            fold(file)  # Feast reads the file alone
        # Feast narrates on standard output, which belongs to a command's result.
        with contextlib.redirect_stdout(io.StringIO()), _writes(store, settings, counted):
            store.materialize(start, now, [view.name])
    except Exception as err:
        raise FeaturesUnavailable(
            f"{view.name} could not be materialized: {type(err).__name__}: {err}"
        ) from err
    return Materialized(view=view.name, start=start, end=now, rows=counted.rows)


class _Counted:
    """Counts rows as an online store says that it has written them, and tells every thousandth."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self._tell = tell
        self._of = 0
        self.rows = 0

    def batch(self, rows: int) -> None:
        self._of += rows
        self._tell(self.rows, self._of)

    def __call__(self, rows: int) -> None:
        before, self.rows = self.rows, self.rows + rows
        if before // 1000 != self.rows // 1000 or self.rows == self._of:
            self._tell(self.rows, self._of)


@contextlib.contextmanager
def _writes(store: FeatureStore, settings: Settings, counted: _Counted) -> Iterator[None]:
    """Count what Feast writes online, and keep what is later than it; Feast does neither."""
    online: Any = store.provider.online_store
    write = online.online_write_batch
    replaced = vars(online).get("online_write_batch")

    def counting(config: Any, table: Any, data: Any, progress: Any) -> None:
        del config, progress
        counted.batch(len(data))
        write_in_order(store, settings, table, data, progress=counted, write=write)

    online.online_write_batch = counting
    try:
        yield
    finally:
        if replaced is None:
            del online.online_write_batch
        else:
            online.online_write_batch = replaced


def _start(view: FeatureView, now: datetime) -> datetime:
    last = view.most_recent_end_time
    oldest = _oldest_useful(view, now)
    return oldest if last is None else min(max(last, oldest), now)


def _oldest_useful(view: FeatureView, now: datetime) -> datetime:
    return now - (view.ttl or timedelta(days=36_500))
