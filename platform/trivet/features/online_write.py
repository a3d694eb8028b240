"""Write rows online so that they end the same in whatever order they come, on every store.

Feast leaves this to each store. SQLite and PostgreSQL take whatever is written last, an older event
included; Redis refuses older events, but a corrected one of the same moment as well. The rule here:

- of two events of one entity, the one with the later event timestamp stays;
- of two with the same event timestamp, the one that was written later stays: it is a correction.

It holds for what is written through here, from any number of processes of one host: a file lock lets
them take turns, a thousand rows at a time. Event timestamps count as finely as the store keeps them:
to the microsecond; SQLite keeps whole seconds, so there two events of one second are corrections of
each other unless they are written together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from filelock import FileLock

from trivet.features.online_file import online_file
from trivet.features.view_reader import known_time
from trivet.settings import Settings

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""As Feast's stores take it: key, values, event timestamp, time of creation."""

_ROWS = 1000
"""Written at a time: no store's limit on the parameters of a statement is below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of rows."""

    written: int = 0
    """New to the store: their events are later than what it had."""
    corrected: int = 0
    """Of the same moment as what the store had, and put in its place."""
    older: int = 0
    """Left out: the store or the same batch has a later event, or a correction."""

    def __add__(self, other: Written) -> Written:
        """Add up."""
        return Written(
            written=self.written + other.written,
            corrected=self.corrected + other.corrected,
            older=self.older + other.older,
        )


def write_in_order(
    store: FeatureStore,
    settings: Settings,
    view: FeatureView,
    rows: Sequence[Row],
    *,
    progress: Callable[[int], Any] | None = None,
    write: Callable[..., Any] | None = None,
) -> Written:
    """Write rows of a view unless the online store has later ones.

    Args:
        store: of the project.
        settings: name the folder of the lock.
        view: Feast's.
        rows: in the order in which they became known.
        progress: told how many more of them are done with.
        write: the online store's own `online_write_batch`, where something else stands in its place.

    Raises:
        Exception: whatever the store raises; what was written before stays.
    """
    newest = _newest(rows)
    total = Written(older=len(rows) - len(newest))
    if progress is not None and total.older:
        progress(total.older)
    settings.home.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(newest), _ROWS):
        part = newest[start : start + _ROWS]
        with FileLock(settings.home / "online.lock"):
            total += _write(
                store, view, part, write or store.provider.online_store.online_write_batch
            )
        if progress is not None:
            progress(len(part))
    return total


def _newest(rows: Sequence[Row]) -> list[Row]:
    """Return one row an entity: its latest, and of several of one moment the last."""
    kept: dict[bytes, Row] = {}
    for row in rows:
        key = row[0].SerializeToString(deterministic=True)
        if key not in kept or _utc(row[2]) >= _utc(kept[key][2]):
            kept[key] = row
    return list(kept.values())


def _write(
    store: FeatureStore, view: FeatureView, rows: Sequence[Row], write: Callable[..., Any]
) -> Written:
    names = [field.name for field in view.features]
    if _is_redis(store):
        # It keeps one event timestamp a row. The others keep one a value, and a feature that the view
        # got later may be in none of the rows that are there.
        names = names[:1]
    keys = [row[0] for row in rows]
    found = store.provider.online_store.online_read(store.config, view, keys, names)
    has = [known_time(moment) for moment, _ in found]
    comes = [_as_kept(store, row[2]) for row in rows]
    wanted = [
        row
        for row, now, before in zip(rows, comes, has, strict=True)
        if before is None or now >= before
    ]
    if wanted:
        write(_unordered(store), view, wanted, None)
    corrected = sum(now == before for now, before in zip(comes, has, strict=True))
    return Written(
        written=len(wanted) - corrected, corrected=corrected, older=len(rows) - len(wanted)
    )


def _unordered(store: FeatureStore) -> Any:
    """Return the store's configuration, for Redis with its own order of events switched off."""
    settings: Any = store.config.online_store
    if not _is_redis(store) or settings.skip_dedup:
        return store.config
    config = copy.copy(store.config)
    config._online_store = settings.model_copy(update={"skip_dedup": True})  # noqa: SLF001
    return config


def _is_redis(store: FeatureStore) -> bool:
    return getattr(store.config.online_store, "type", None) == "redis"


def _as_kept(store: FeatureStore, moment: datetime) -> datetime:
    """Return an event timestamp as the store will give it back."""
    utc = _utc(moment)
    return utc if online_file(store) is None else utc.replace(microsecond=0)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
