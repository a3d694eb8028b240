"""Join an entity frame with features as of its moments: what Feast's retrieval gives, in seconds.

For each entity row and each feature view, the newest row of the view's source that has the same join
keys, an event timestamp at or before the entity row's, and an age of at most the view's TTL (the
limit itself still counts; no TTL, or a zero one, never expires). These are the rules of Feast's
retrieval on its DuckDB store, and so are the cases at their edges:

- An entity row without a match is kept, with nulls; so is one with a null join key or timestamp.
- Entity rows that are equal stay as many as they are.
- Times count in UTC and in whole microseconds; one without a zone is taken as UTC.
- Of source rows that are equal in join keys and event timestamp, the one with the newest
  `created_timestamp_column` counts, a null in it being the oldest. Where that does not decide, Feast
  takes any of them, and may take another one in its next call. Here it is the first in the file:
  Feast's own push on DuckDB writes new rows before the old ones, so that is the last correction.
  Rows that were appended beside the file (`segments`) come before it, the last ones first.

The join is DuckDB's ASOF JOIN over the Parquet files of the sources. `pandas.merge_asof` is as fast
(both join 336,776 rows with six views in 0.7 s), but holds every source in memory; DuckDB's memory
has a limit beyond which it goes to disk, and it reads of a source only the columns and the times
that are asked for. Where a source is anything but Parquet files of this machine, Feast's own
`get_historical_features` is called instead, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
from feast import FeatureStore, FileSource

from trivet.contract import DType, View
from trivet.errors import FeaturesUnavailable
from trivet.features.offline_file import local_parquet
from trivet.features.question import (
    ROW,
    Join,
    Question,
    SourceState,
    Span,
    at_rows,
    keys_and_moments,
)
from trivet.features.retrieval import FeastJoin
from trivet.features.segments import read_source

Store: TypeAlias = FeatureStore
"""For the layers above, which pass a store on and never import feast."""

MEMORY_LIMIT = "2GiB"
"""For DuckDB's tables and sorts, which go to disk beyond it."""

_AT = "trivet_at"
"""Event timestamps as microseconds since 1970: plain integers need no time zone data."""
_SQL: Mapping[DType, str] = {
    "float64": "DOUBLE",
    "int64": "BIGINT",
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
}
_SCAN = (
    "read_parquet($files, file_row_number = true, filename = 'trivet_file', union_by_name = true)"
)


@contextmanager
def open_join(
    store: FeatureStore,
    question: Question,
    span: Span | None,
    workspace: Path,
    memory_limit: str = MEMORY_LIMIT,
) -> Iterator[Join]:
    """Read the sources of a question once, for any number of chunks of one entity frame.

    Args:
        store: of the project.
        question: what is asked.
        span: nothing outside it is read but as far back as a TTL reaches; None where the frame has
            no moment at all.
        workspace: an existing folder for what does not fit into memory.
        memory_limit: of DuckDB, which goes to disk beyond it.

    Raises:
        FeaturesUnavailable: a view is not there, or its source could not be read.
    """
    files = {view.name: parquet_source(store, view.name) for view in question.used_views}
    if not all(files.values()):
        yield FeastJoin(store, question)
        return
    with (
        _translated(),
        duckdb.connect(
            config={"memory_limit": memory_limit, "temp_directory": str(workspace)}
        ) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        repo = Path(store.repo_path)
        sources = [_Source(view, question, files[view.name], repo) for view in question.used_views]
        yield _AsOfJoin(connection, question, sources, span)


class _Source:
    """One view's Parquet files, and the SQL that reads and joins them."""

    def __init__(
        self, view: View, question: Question, source: FileSource | None, repo: Path
    ) -> None:
        assert source is not None  # noqa: S101 - for the type checker: `open_join` has looked
        self._source = source
        self.view = view
        self.columns = question.columns_of(view)
        self._keys = [key for key in question.join_keys if key.name in view.join_keys]
        # Feast's DuckDB reads a relative path from wherever it is called; its writes start here.
        self.path = FileSource.get_uri_for_file_path(repo, source.path)
        self._timestamp = question.timestamp

    @property
    def name(self) -> str:
        """Return its name in the Feast registry."""
        return str(self._source.name)

    def load(self, table: str, columns: list[str], span: Span | None) -> str:
        """Return the statement that makes a table of what can count, one row a key and moment."""
        physical = self._physical(columns)
        at = f"CAST({physical(self._source.timestamp_field)} AS TIMESTAMPTZ)"
        keys = [f"CAST({physical(k.name)} AS {_SQL[k.dtype]}) AS {_q(k.name)}" for k in self._keys]
        features = [f"{physical(c.feature)} AS {_q(c.name)}" for c in self.columns]
        order = ["list_position($files, trivet_file)", "trivet_file", "file_row_number"]
        if created := self._source.created_timestamp_column:
            order.insert(0, f"CAST({physical(created)} AS TIMESTAMPTZ) DESC NULLS LAST")
        same = [*(_q(key.name) for key in self._keys), _AT]
        return (
            f"CREATE OR REPLACE TABLE {table} AS "  # noqa: S608 - names are quoted, paths are parameters
            f"SELECT {', '.join([*keys, *features])}, epoch_us({at}) AS {_AT} "
            f"FROM {_SCAN} WHERE {_within(at, span, self.view)} "
            f"QUALIFY row_number() OVER (PARTITION BY {', '.join(same)} "
            f"ORDER BY {', '.join(order)}) = 1"
        )

    def match(self, table: str) -> str:
        """Return the query for the rows of the table `entities` that have a match, and its values."""
        on = [f"e.{_q(key.name)} = s.{_q(key.name)}" for key in self._keys]
        on.append(f"epoch_us(e.{_q(self._timestamp)}) >= s.{_AT}")
        values = ", ".join(f"s.{_q(column.name)}" for column in self.columns)
        alive = "true"
        if self.view.ttl_seconds is not None:
            ttl = min(round(self.view.ttl_seconds * 1_000_000), 2**63 - 1)
            alive = f"epoch_us(e.{_q(self._timestamp)}) - s.{_AT} <= {ttl}"
        return (
            f"SELECT e.{ROW}, {values} FROM entities e "  # noqa: S608 - identifiers are quoted
            f"ASOF JOIN {table} s ON {' AND '.join(on)} WHERE {alive}"
        )

    def _physical(self, columns: list[str]) -> Callable[[str], str]:
        """Return what finds a name's column in the file: field mappings rename file columns."""
        mapping = self._source.field_mapping
        renamed = {new: old for old, new in mapping.items() if old in columns}
        return lambda name: _q(renamed.get(name, name))


class _AsOfJoin:
    """The sources as tables of one DuckDB connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        question: Question,
        sources: list[_Source],
        span: Span | None,
    ) -> None:
        self._connection = connection
        self._question = question
        self._tables = {f"source_{number}": source for number, source in enumerate(sources)}
        self.sources = tuple(
            self._load(table, source, span) for table, source in self._tables.items()
        )

    def features(self, entities: pa.Table) -> pa.Table:
        """Join one chunk, view by view: a join of all at once would sort the wide rows."""
        self._connection.register("entities", keys_and_moments(entities, self._question))
        found: dict[str, pa.ChunkedArray] = {}
        for table, source in self._tables.items():
            matches = self._connection.sql(source.match(table)).to_arrow_table()
            rows = matches[ROW].to_numpy()
            found |= at_rows(matches, rows, len(entities), source.columns)
        self._connection.unregister("entities")
        names = [column.name for column in self._question.columns]
        return pa.table([found[name] for name in names], names=names)

    def _load(self, table: str, source: _Source, span: Span | None) -> SourceState:
        return read_source(source.path, lambda files: self._load_files(table, source, span, files))

    def _load_files(
        self, table: str, source: _Source, span: Span | None, paths: list[str]
    ) -> SourceState:
        named = {"files": paths}
        described = self._connection.execute(f"DESCRIBE FROM {_SCAN}", named).fetchall()
        statement = source.load(table, [row[0] for row in described], span)
        self._connection.execute(statement, named)
        newest = self._connection.execute(
            f"SELECT make_timestamptz(max({_AT})) FROM {table}"  # noqa: S608 - names of this module
        ).fetchall()[0][0]
        files = self._connection.execute(
            f"SELECT DISTINCT trivet_file FROM {_SCAN} ORDER BY ALL",  # noqa: S608 - as above
            named,
        ).fetchall()
        return SourceState(
            view=source.view.name,
            source=source.name,
            digest=_digest(Path(file) for (file,) in files),
            newest=newest,
        )


def parquet_source(store: FeatureStore, view: str) -> FileSource | None:
    """Return a view's source if it is Parquet on this machine; of a push source, its batch source."""
    try:
        source = store.get_feature_view(view).batch_source
    except Exception as err:
        raise FeaturesUnavailable(
            f"Feast project {store.project} has no feature view {view}.",
            hint="feast apply in the feature repository brings it.",
        ) from err
    return local_parquet(source)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as err:
        raise FeaturesUnavailable(f"A source cannot be joined: {err}") from err


def _within(at: str, span: Span | None, view: View) -> str:
    """Return the condition that an event timestamp can count for some moment of the span."""
    if span is None:
        return "false"
    first, last = span
    upper = f"{at} <= {_moment(last)}"
    if view.ttl_seconds is None:
        return upper
    try:
        oldest = first - timedelta(seconds=view.ttl_seconds)
    except OverflowError:  # a TTL of millennia
        return upper
    return f"{upper} AND {at} >= {_moment(oldest)}"


def _moment(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"


def _digest(files: Iterator[Path]) -> str:
    digest = sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _q(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
