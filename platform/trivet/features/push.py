"""Push features as they happen: through a push source of Feast, in the order of their events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import pandas as pd
from feast import FeatureStore, FeatureView
from feast.data_source import DataSource, PushSource
from filelock import FileLock

from trivet.clock import Clock, system_clock
from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.online_connection import connection_of
from trivet.features.online_file import allow_reads_while_writing
from trivet.features.online_write import Written, write_in_order
from trivet.settings import Settings

Store: TypeAlias = FeatureStore
"""For the layers above, which pass a store on and never import feast."""

To = Literal["online", "online_and_offline"]

FUTURE = timedelta(minutes=1)
"""How far an event may be ahead of this machine's clock: two clocks are never quite the same."""


class Pusher:
    """A push source with its feature views looked up once: Feast parses its registry to find them."""

    def __init__(
        self, store: FeatureStore, settings: Settings, source: str, clock: Clock = system_clock
    ) -> None:
        """Find the views.

        Raises:
            BadSetting: no feature view has this push source.
            FeaturesUnavailable: the registry does not answer.
        """
        self._store = store
        self._settings = settings
        self._clock = clock
        self._views = _views_of(store, source)
        allow_reads_while_writing(store)
        self._connection = connection_of(store, None)

    def push(self, rows: pd.DataFrame, *, to: To = "online") -> Written:
        """Write n events, and leave out those that the online store has later ones of.

        Args:
            rows: the columns of the push source: join keys, features, event timestamp. One event a
                row, in the order in which they became known; of several with one join key and one
                event timestamp the last counts.
            to: `online_and_offline` also appends all of them to the views' batch source, and does
                so first. Feast rewrites a Parquet source as a whole for it: push many at a time.

        Returns:
            Counts over all views of the source.

        Raises:
            BadSetting: a column is missing, a key or timestamp is null, or an event lies in the
                future; nothing was written.
            FeaturesUnavailable: a store failed. What was written stays, and pushing the same rows
                again does no harm.
        """
        checked = [(view, self._checked(view, rows)) for view in self._views]
        if rows.empty:
            return Written()
        self._connection.require()
        return sum((self._push(view, part, to) for view, part in checked), Written())

    def _push(self, view: FeatureView, rows: pd.DataFrame, to: To) -> Written:
        try:
            if to == "online_and_offline":
                self._append(view, rows)
            provider: Any = self._store.provider
            prepared = provider._prep_rows_to_write_for_ingestion(view, rows)  # noqa: SLF001
            return write_in_order(self._store, self._settings, view, prepared)
        except Exception as err:
            self._connection.failed()
            raise FeaturesUnavailable(
                f"{view.name} could not be pushed: {type(err).__name__}: {err}"
            ) from err

    def _append(self, view: FeatureView, rows: pd.DataFrame) -> None:
        self._settings.home.mkdir(parents=True, exist_ok=True)
        # Feast reads a Parquet source and writes it anew: two at once would lose rows.
        with FileLock(self._settings.home / "offline.lock"):
            self._store.write_to_offline_store(view.name, rows)

    def _checked(self, view: FeatureView, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with aware event timestamps in whole microseconds."""
        source = _batch_source(view)
        keys, features, moment = _columns(view, source)
        now = self._clock()
        made = source.created_timestamp_column
        if made and made not in rows.columns:
            rows = rows.assign(**{made: now})
        if missing := [name for name in (*keys, *features, moment) if name not in rows.columns]:
            raise BadSetting(f"The rows for {view.name} lack {', '.join(missing)}.")
        if null := [name for name in (*keys, moment) if rows[name].isna().any()]:
            raise BadSetting(f"The rows for {view.name} have a null {', '.join(null)}.")
        moments = pd.to_datetime(rows[moment], utc=True).dt.floor("us")
        if len(rows) and moments.max() > now + FUTURE:
            raise BadSetting(
                f"An event for {view.name} is of {moments.max().isoformat()}, which is yet to come.",
                hint="Event timestamps without a zone are taken as UTC.",
            )
        return rows.assign(**{moment: moments})


def push(
    store: FeatureStore,
    settings: Settings,
    source: str,
    rows: pd.DataFrame,
    *,
    to: To = "online",
    clock: Clock = system_clock,
) -> Written:
    """Push n events through a push source once; for more than one call, keep a `Pusher`.

    Args, result and errors are those of `Pusher` and its `push`.
    """
    return Pusher(store, settings, source, clock).push(rows, to=to)


def _views_of(store: FeatureStore, source: str) -> Sequence[FeatureView]:
    try:
        views = store.list_feature_views()
    except Exception as err:
        raise FeaturesUnavailable(f"The feature registry does not answer: {err}") from err
    sources = {view.name: view.stream_source for view in views}
    pushed = {name: s.name for name, s in sources.items() if isinstance(s, PushSource)}
    if source not in pushed.values():
        raise BadSetting(
            f"{store.project} has no feature view with the push source {source}.",
            hint=f"It has {', '.join(sorted(set(pushed.values()))) or 'no push source at all'}.",
        )
    return [view for view in views if pushed.get(view.name) == source]


def _batch_source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise BadSetting(f"The push source of {view.name} has no batch source.")
    return view.batch_source


def _columns(view: FeatureView, source: DataSource) -> tuple[list[str], list[str], str]:
    """Return the join keys, features and event timestamp by the names that the source has for them."""
    physical = {new: old for old, new in source.field_mapping.items()}
    keys = [physical.get(column.name, column.name) for column in view.entity_columns]
    features = [physical.get(field.name, field.name) for field in view.features]
    return keys, features, str(source.timestamp_field)
