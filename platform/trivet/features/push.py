"""Push features as they happen: through a push source of Feast, in the order of their events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd
import pyarrow as pa
from feast import FeatureStore, FeatureView
from feast.data_source import DataSource, PushSource
from feast.value_type import ValueType
from filelock import FileLock

from trivet.clock import Clock, system_clock
from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.folding import schema_of, tidy_soon
from trivet.features.offline_file import offline_file
from trivet.features.online_connection import Connection, connection_of
from trivet.features.online_file import allow_reads_while_writing
from trivet.features.online_write import Written, write_in_order
from trivet.features.segments import append
from trivet.settings import Settings

Store: TypeAlias = FeatureStore
"""For the layers above, which pass a store on and never import feast."""

To = Literal["online", "online_and_offline"]

Target: TypeAlias = Path | str
"""Where rows go offline: a file of this machine, or the view whose source Feast writes."""

Part: TypeAlias = tuple[FeatureView, pd.DataFrame | pa.Table]
"""A view, and its rows: for a file, in the file's schema."""

FUTURE = timedelta(minutes=1)
"""How far an event may be ahead of this machine's clock: two clocks are never quite the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumns:
    """The columns that a row of a push source must have."""

    kinds: Mapping[str, ValueType]
    required: frozenset[str]
    """Those that may not be null: join keys and event timestamps."""


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

    @property
    def columns(self) -> SourceColumns:
        """What a row of the source must have: the columns of all its views."""
        kinds: dict[str, ValueType] = {}
        keys: set[str] = set()
        moments: set[str] = set()
        for view in self._views:
            source = _batch_source(view)
            of_keys, of_features, moment = _columns(view, source)
            fields = (*view.entity_columns, *view.features)
            kinds |= {
                name: field.dtype.to_value_type()
                for name, field in zip((*of_keys, *of_features), fields, strict=True)
            }
            keys |= set(of_keys)
            moments.add(moment)
        kinds |= dict.fromkeys(moments, ValueType.UNIX_TIMESTAMP)
        return SourceColumns(kinds=kinds, required=frozenset(keys | moments))

    def push(self, rows: pd.DataFrame, *, to: To = "online") -> Written:
        """Write n events, and leave out those that the online store has later ones of.

        Args:
            rows: the columns of the push source: join keys, features, event timestamp. One event a
                row, in the order in which they became known; of several with one join key and one
                event timestamp the last counts.
            to: `online_and_offline` also appends all of them to the views' batch source, once they
                are online: to a Parquet file of this machine as a segment beside it (`segments`),
                which Trivet sees at once, and Feast itself once it is folded into the file. Any
                other source Feast writes as it does.

        Returns:
            Counts over all views of the source.

        Raises:
            BadSetting: a column is missing or of another type, a key or timestamp is null, or an
                event lies in the future or centuries away; nothing was written.
            FeaturesUnavailable: a store failed. What was written online stays, and pushing the same
                rows again does no harm: offline there are none of them, unless one of several batch
                sources has failed after another.
        """
        checked = [(view, self._checked(view, rows)) for view in self._views]
        if rows.empty:
            return Written()
        self._connection.require()
        online = [(view, self._prepared(view, part)) for view, part in checked]
        offline = self._offline(checked) if to == "online_and_offline" else {}
        written = Written()
        for view, prepared in online:
            with _telling(view, self._connection):
                written += write_in_order(self._store, self._settings, view, prepared)
        # Last: whoever pushes again because the online store is down appends nothing meanwhile.
        for target, (view, part) in offline.items():
            with _telling(view, self._connection):
                self._append(target, view, part)
        return written

    def _offline(
        self, checked: Sequence[tuple[FeatureView, pd.DataFrame]]
    ) -> Mapping[Target, Part]:
        """Return what each batch source is to get: once, also where several views have it."""
        parts: dict[Target, Part] = {}
        for view, rows in checked:
            file = offline_file(self._store, view)
            if file is None:
                parts[view.name] = view, rows
                continue
            with _telling(view, self._connection):
                schema = schema_of(file)
            parts[file] = view, in_schema(rows, schema)
        return parts

    def _prepared(self, view: FeatureView, rows: pd.DataFrame) -> Any:
        provider: Any = self._store.provider
        try:
            return provider._prep_rows_to_write_for_ingestion(view, rows)  # noqa: SLF001
        except Exception as err:
            raise BadSetting(
                f"The rows for {view.name} do not fit its types: {type(err).__name__}: {err}"
            ) from err

    def _append(self, target: Target, view: FeatureView, rows: pd.DataFrame | pa.Table) -> None:
        if isinstance(target, Path):
            append(target, rows)
            tidy_soon(target)
            return
        self._settings.home.mkdir(parents=True, exist_ok=True)
        # Feast reads some sources and writes them anew: two at once would lose rows.
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
        moments = _moments(view, rows[moment])
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


def in_schema(rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return rows as the columns of their source.

    Raises:
        BadSetting: a column is missing, or holds what the source's type cannot.
    """
    if missing := [name for name in schema.names if name not in rows.columns]:
        raise BadSetting(f"The rows lack {', '.join(missing)}, which their source has.")
    try:
        return pa.Table.from_pandas(rows[schema.names], preserve_index=False).cast(schema)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as err:
        raise BadSetting(f"The rows do not fit their source: {err}") from err


@contextmanager
def _telling(view: FeatureView, connection: Connection) -> Iterator[None]:
    """Turn what a store raises into one error."""
    try:
        yield
    except Exception as err:
        connection.failed()
        raise FeaturesUnavailable(
            f"{view.name} could not be pushed: {type(err).__name__}: {err}"
        ) from err


def _moments(view: FeatureView, moments: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_datetime(moments, utc=True).dt.floor("us")
    except (ValueError, TypeError, OverflowError) as err:
        raise BadSetting(
            f"An event timestamp for {view.name} is none: {err}.",
            hint=f"It is a moment from {pd.Timestamp.min:%F} to {pd.Timestamp.max:%F}.",
        ) from err


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
