"""What is asked of the features of the past, and what was given; free of Feast and DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trivet.contract import Column, DType, JoinKey, View
from trivet.errors import BadSetting

ARROW: Mapping[DType, pa.DataType] = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
"""The Arrow type of each of a contract's dtypes; all of them have a null."""

ROW = "trivet_row"
"""The name under which an entity row's number goes through a join."""

Span = tuple[datetime, datetime]
"""The first and the last moment of an entity frame."""

_SPAN_ROWS = 2**19
"""Moments read at a time: 4 MB of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which columns, of which views, by which keys, as of which of the entity frame's columns."""

    columns: tuple[Column, ...]
    """Of feature views only; see `base_columns`."""
    views: tuple[View, ...]
    join_keys: tuple[JoinKey, ...]
    timestamp: str
    """The entity frame's column with the moment to look back from."""

    @property
    def used_views(self) -> tuple[View, ...]:
        """The views that a column comes from."""
        used = {column.view for column in self.columns}
        return tuple(view for view in self.views if view.name in used)

    @property
    def used_keys(self) -> tuple[JoinKey, ...]:
        """The join keys of the used views, which the entity frame must have as columns."""
        used = {key for view in self.used_views for key in view.join_keys}
        return tuple(key for key in self.join_keys if key.name in used)

    def columns_of(self, view: View) -> tuple[Column, ...]:
        """Return the asked columns of one view."""
        return tuple(column for column in self.columns if column.view == view.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What a view's source was when it was read."""

    view: str
    source: str
    """Its name in the Feast registry."""
    digest: str | None = None
    """SHA-256 of its files; None for what is no file of this machine."""
    newest: datetime | None = None
    """The newest event timestamp that was read: none after the entity frame's last moment is."""


class Join(Protocol):
    """Sources that are open for one question."""

    @property
    def sources(self) -> tuple[SourceState, ...]:
        """One for each used view."""

    def features(self, entities: pa.Table) -> pa.Table:
        """Return the question's columns for n entity rows: n rows in the same order.

        Args:
            entities: with at least the join keys and the timestamp of the question.

        Returns:
            The question's columns, in its order, of the types in `ARROW`.

        Raises:
            BadSetting: a key or a feature is not of its dtype.
            FeaturesUnavailable: a source could not be read.
        """


def base_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return those of a contract's columns that the join has to bring: of feature views."""
    return tuple(column for column in columns if column.view is not None)


def keys_and_moments(entities: pa.Table, question: Question) -> pa.Table:
    """Return n rows of what a join goes by: the keys in their dtypes, the timestamp, the row number.

    Raises:
        BadSetting: a column is missing, or is not of its dtype.
    """
    arrays = {key.name: _key(entities, key) for key in question.used_keys}
    arrays[question.timestamp] = moments(entities, question.timestamp)
    return pa.table({**arrays, ROW: np.arange(len(entities), dtype=np.int64)})


def moments(entities: pa.Table, name: str) -> pa.ChunkedArray:
    """Return the timestamps of n entity rows as Arrow's timestamp[us, UTC], cut to microseconds.

    Raises:
        BadSetting: there is no such column, or it holds no timestamps.
    """
    values = column_of(entities, name)
    if not (pa.types.is_timestamp(values.type) or pa.types.is_null(values.type)):
        raise BadSetting(
            f"The entity frame's {name} is of type {values.type}, not a timestamp.",
            hint="pandas.to_datetime(..., utc=True) makes one.",
        )
    # Rounded down before the cast: a cast that may lose something rounds towards 1970.
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        values = pc.floor_temporal(values, unit="microsecond")
    return values.cast(ARROW["timestamp"], safe=False)


def span_of(file: pq.ParquetFile, name: str) -> Span | None:
    """Return the first and the last moment of an entity file; only their column is read.

    Raises:
        BadSetting: there is no such column, or it holds no timestamps.
    """
    if name not in file.schema_arrow.names:
        raise BadSetting(f"The entity frame has no column {name}.")
    spans = [
        pc.min_max(moments(pa.Table.from_batches([batch]), name)).as_py()
        for batch in file.iter_batches(batch_size=_SPAN_ROWS, columns=[name])
    ]
    known = [span for span in spans if span["min"] is not None]
    if not known:
        return None
    return min(span["min"] for span in known), max(span["max"] for span in known)


def column_of(entities: pa.Table, name: str) -> pa.ChunkedArray:
    """Return one column of the entity frame.

    Raises:
        BadSetting: there is none of this name.
    """
    if name not in entities.column_names:
        raise BadSetting(f"The entity frame has no column {name}.")
    return entities[name]


def at_rows(
    found: pa.Table, rows: npt.NDArray[np.int64], n: int, columns: Sequence[Column]
) -> dict[str, pa.ChunkedArray]:
    """Put what was found at its entity rows, in the columns' dtypes.

    Args:
        found: m rows with the columns, by name.
        rows: m numbers of entity rows, in any order, none twice.
        n: how many entity rows there are; those that nothing was found for get nulls.
        columns: the ones to return.

    Raises:
        BadSetting: a value does not fit its column's dtype.
    """
    positions = np.full(n, -1, dtype=np.int64)
    positions[rows] = np.arange(len(rows))
    taken = pa.array(positions, mask=positions < 0)
    return {column.name: typed(column, found[column.name]).take(taken) for column in columns}


def typed(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column's values in the Arrow type of its dtype.

    Raises:
        BadSetting: a value does not fit; a number would lose a part, or text is no number.
    """
    if pa.types.is_floating(values.type) and column.dtype != "float64":
        # What pandas makes of a null in a column of numbers.
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    try:
        # Times may be cut to microseconds; of nothing else may a part be lost.
        return values.cast(ARROW[column.dtype], safe=column.dtype != "timestamp")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise BadSetting(f"{column.source} is not of its dtype {column.dtype}: {err}.") from err


def _key(entities: pa.Table, key: JoinKey) -> pa.ChunkedArray:
    values = column_of(entities, key.name)
    plain = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if _is_text(plain) == (key.dtype == "string") or pa.types.is_null(plain):
        try:
            return values.cast(ARROW[key.dtype])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    raise BadSetting(
        f"The entity frame's {key.name} is of type {values.type}; the join key is {key.dtype}."
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
