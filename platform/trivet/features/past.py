"""What the offline store has of one feature view as of any moment, and when each value was known.

Feast as it is now is asked: its sources, types and times to live, not those that a contract names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
from feast import FeatureStore, FeatureView, FileSource

from trivet.contract import Column, DType
from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.asof import open_join, parquet_source
from trivet.features.offer import declared_dtypes
from trivet.features.question import ARROW, Join, Question, Span

Store: TypeAlias = FeatureStore
"""For the layers above, which pass a store on and never import feast."""

EVENT, CREATED = "trivet_event", "trivet_created"
"""The columns with a row's event timestamp, and with when it was written where the source says so."""

_KINDS: Mapping[DType, tuple[str, ...]] = {
    "int64": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    "float64": ("FLOAT", "DOUBLE", "DECIMAL"),
    "string": ("VARCHAR",),
    "bool": ("BOOLEAN",),
    "timestamp": ("TIMESTAMP", "DATE"),
}
"""What DuckDB calls the types that a dtype is read from, or what these names begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewNow:
    """A feature view as Feast has it now."""

    view: str
    ttl_seconds: float | None
    declared: Mapping[str, DType]
    """The dtypes of its features by the registry; one that is not here has been dropped."""
    stored: Mapping[str, DType]
    """The dtypes of what its source holds for them; one that is not here cannot be read."""
    intervals: tuple[Span, ...]
    """What has been materialized: from when to when."""
    pushed: bool
    """Whether values also come online by a push."""


class Past:
    """One view's source, open for any number of moments."""

    def __init__(self, now: ViewNow, question: Question, join: Join, asked: pa.Schema) -> None:
        """`asked`: what the join gives."""
        self.now = now
        self._question = question
        self._join = join
        self._asked = asked

    def as_of(self, keys: pa.Table, moments: pa.Array) -> pa.Table:
        """Return the newest values at n moments, whatever their age.

        Args:
            keys: n rows with the view's join keys.
            moments: n timestamps.

        Returns:
            n rows: the columns by name, in the dtypes of the source, null where it has none of them;
            `EVENT` and `CREATED`, timestamps[us, UTC], null where there is no row.
        """
        found = self._join.features(keys.append_column(self._question.timestamp, moments))
        names = [*(column.name for column in self._question.columns), EVENT, CREATED]
        nothing = pa.nulls(len(keys))
        return pa.table({n: found[n] if n in self._asked.names else nothing for n in names})


@contextmanager
def open_past(
    store: FeatureStore, question: Question, last: datetime, workspace: Path
) -> Iterator[Past]:
    """Read a view's source once, up to the last moment that will be asked for.

    Args:
        store: of the project.
        question: one view and its columns, as a contract has them; its time to live is not applied.
        last: nothing later is read.
        workspace: an existing folder for what does not fit into memory.

    Raises:
        BadSetting: the source is no Parquet file of this machine.
        FeaturesUnavailable: the view is not there, or its source could not be read.
    """
    (view,) = question.views
    source = parquet_source(store, view.name)
    if source is None:
        raise BadSetting(
            f"The source of {view.name} is no Parquet file of this machine: Feast does not say when "
            "the values that it retrieves from it were known.",
        )
    now = _describe(store, view.name, source)
    asked = [
        column.model_copy(update={"dtype": now.stored[column.feature]})
        for column in question.columns
        if column.feature in now.stored
    ]
    asked += [
        Column(name=name, source=f"{view.name}:{field}", dtype="timestamp")
        for name, field in _times(source).items()
    ]
    ageless = view.model_copy(update={"ttl_seconds": None})
    wider = replace(question, columns=tuple(asked), views=(ageless,))
    with open_join(store, wider, (last, last), workspace) as join:
        yield Past(now, question, join, pa.schema([(c.name, ARROW[c.dtype]) for c in asked]))


def _times(source: FileSource) -> dict[str, str]:
    fields = {EVENT: source.timestamp_field, CREATED: source.created_timestamp_column}
    return {name: str(field) for name, field in fields.items() if field}


def _describe(store: FeatureStore, name: str, source: FileSource) -> ViewNow:
    view = store.get_feature_view(name)
    return ViewNow(
        view=name,
        # Feast's own rule: a zero timedelta never expires.
        ttl_seconds=view.ttl.total_seconds() or None if view.ttl else None,
        declared=declared_dtypes(view),
        stored=_stored(Path(store.repo_path), source),
        intervals=_intervals(view),
        pushed=view.stream_source is not None,
    )


def _intervals(view: FeatureView) -> tuple[Span, ...]:
    return tuple((_utc(start), _utc(end)) for start, end in view.materialization_intervals)


def _stored(repo: Path, source: FileSource) -> dict[str, DType]:
    path = FileSource.get_uri_for_file_path(repo, source.path)
    try:
        with duckdb.connect() as connection:
            columns = connection.execute(
                "DESCRIBE FROM read_parquet($path)", {"path": path}
            ).fetchall()
    except duckdb.Error as err:
        raise FeaturesUnavailable(f"The source {source.name} cannot be read: {err}") from err
    found = {row[0]: _dtype(row[1]) for row in columns}
    named = {source.field_mapping.get(name, name): dtype for name, dtype in found.items()}
    return {name: dtype for name, dtype in named.items() if dtype is not None}


def _dtype(kind: str) -> DType | None:
    for dtype, names in _KINDS.items():
        if kind.endswith("]"):  # a list
            return None
        if kind.startswith(names):
            return dtype
    return None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
