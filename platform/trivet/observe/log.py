"""Read the prediction log: finished segments, and what has been flushed to those still open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from trivet import logged
from trivet.serving.log.segment import finished_path, read_open
from trivet.settings import Settings

_SORTED = [(name, "ascending") for name in (logged.LOG_TIMESTAMP, logged.REQUEST_ID, logged.ROW)]
_SLACK = timedelta(minutes=10)
"""A segment's name has the time of its first row; requests that took longer may follow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of a log are meant; what is None or empty admits all."""

    since: datetime | None = None
    until: datetime | None = None
    version: int | None = None
    request_id: str | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Join keys or request columns, by name; a string stands for the value that it spells."""
    absent: str | None = None
    """A column that the store could not give, or the caller did not."""

    def expression(self, schema: pa.Schema) -> pc.Expression | None:
        """Return the condition on rows of a segment; None where none of its rows can meet it."""
        conditions = list(self._conditions(schema))
        if any(condition is None for condition in conditions):
            return None
        everything = pc.scalar(True)  # noqa: FBT003 - pyarrow's own
        return reduce(and_, conditions, everything)

    def _conditions(self, schema: pa.Schema) -> Iterator[pc.Expression | None]:
        at = pc.field(logged.LOG_TIMESTAMP)
        if self.since is not None:
            yield at >= pa.scalar(self.since, logged.MOMENT)
        if self.until is not None:
            yield at < pa.scalar(self.until, logged.MOMENT)
        if self.version is not None:
            yield pc.field(logged.VERSION) == self.version
        if self.request_id is not None:
            yield pc.field(logged.REQUEST_ID) == self.request_id
        for name, value in self.keys.items():
            yield _equals(schema, name, value)
        if self.absent is not None:
            yield _is_absent(schema, self.absent)


def read_log(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    version: int | None = None,
    request_id: str | None = None,
    keys: Mapping[str, Any] | None = None,
    absent: str | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Return the logged predictions of a model, oldest first.

    Segments are filtered as they are read. Those of different contracts are united: a column that one
    does not have is null there.

    Args:
        settings: of the project.
        model: the registered model's name.
        since: rows asked at this moment or later.
        until: rows asked before this moment.
        version: the version that answered.
        request_id: one request.
        keys: values of join keys or request columns.
        absent: a column of the contract that the store or the caller did not give.
        limit: the newest so many.

    Returns:
        The columns of `trivet.logged.log_schema`; a table without columns where nothing fits.
    """
    wanted = Wanted(
        since=since,
        until=until,
        version=version,
        request_id=request_id,
        keys=keys or {},
        absent=absent,
    )
    found: list[pa.Table] = []
    for table, finished in _segments(logged.log_folder(settings.home, model), wanted):
        # Segments come newest first, and all rows of those to come are older than this one's end.
        if limit is not None and _enough(found, limit, finished):
            break
        if table is not None and table.num_rows:
            found.append(table)
    rows = _unite(found)
    if not rows.num_rows:
        return rows
    rows = rows.sort_by(_SORTED)
    return rows if limit is None else rows.slice(max(0, rows.num_rows - limit))


def _segments(folder: Path, wanted: Wanted) -> Iterator[tuple[pa.Table | None, datetime | None]]:
    """Yield the rows of each segment that fit, and when it was finished (None: still open).

    Open ones are read first. One that is finished meanwhile is among the Parquet files by the time
    that these are listed, and is then taken from there.
    """
    opened = {
        finished_path(path): read_open(path)
        for path in sorted(logged.open_folder(folder).glob("*.arrow"))
    }
    finished = _listed(folder)
    for path, rows in opened.items():
        if rows is not None and path not in finished:
            yield _filtered(rows, wanted), None
    for path, at in sorted(finished.items(), key=lambda item: item[1], reverse=True):
        if not _outside(path, at, wanted):
            yield _read(path, wanted), at


def _listed(folder: Path) -> dict[Path, datetime]:
    """Return the finished segments with the moment at which each was; all its rows are older."""
    found = {}
    for path in folder.glob("*.parquet"):
        try:
            found[path] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:  # past its retention just now
            continue
    return found


def _outside(path: Path, finished: datetime, wanted: Wanted) -> bool:
    if wanted.since is not None and finished < wanted.since:
        return True
    if wanted.until is None:
        return False
    try:
        first = datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # a file that somebody else has put here
        return False
    return first - _SLACK > wanted.until


def _read(path: Path, wanted: Wanted) -> pa.Table | None:
    try:
        source = ds.dataset(path, format="parquet")
        condition = wanted.expression(source.schema)
        return None if condition is None else source.to_table(filter=condition)
    except FileNotFoundError:
        return None


def _filtered(rows: pa.Table, wanted: Wanted) -> pa.Table | None:
    condition = wanted.expression(rows.schema)
    return None if condition is None else rows.filter(condition)


def _equals(schema: pa.Schema, name: str, value: Any) -> pc.Expression | None:
    if name not in schema.names:
        return None
    try:
        return pc.field(name) == pa.scalar(value).cast(schema.field(name).type)
    except pa.ArrowInvalid:  # no number, and so not the number that is in any row
        return None


def _is_absent(schema: pa.Schema, column: str) -> pc.Expression | None:
    name = logged.logged_columns(schema).get(column, column)
    if name not in schema.names:
        return None
    status = f"{name}__status"
    if status in schema.names:
        return pc.field(status) != int(logged.Status.PRESENT)
    return pc.field(name).is_null()


def _enough(found: list[pa.Table], limit: int, finished: datetime | None) -> bool:
    if finished is None or sum(table.num_rows for table in found) < limit:
        return False
    times = pa.chunked_array([t.column(logged.LOG_TIMESTAMP) for t in found])
    newest = pc.select_k_unstable(times, limit, sort_keys=[("", "descending")])
    oldest: datetime = pc.min(times.take(newest)).as_py()
    return oldest > finished


def _unite(tables: list[pa.Table]) -> pa.Table:
    if not tables:
        return pa.table({})
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.concat_tables(_alike(tables), promote_options="permissive")


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """Turn columns to text whose type is another in another version."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for entry in table.schema:
            kinds.setdefault(entry.name, set()).add(entry.type)
    mixed = {name for name, types in kinds.items() if len(types) > 1}
    return [
        table.cast(
            pa.schema(
                [pa.field(f.name, pa.string()) if f.name in mixed else f for f in table.schema]
            )
        )
        for table in tables
    ]
