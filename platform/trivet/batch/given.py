"""What the entity file gives of each row, checked as a service checks a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.batch.job import Job
from trivet.batch.reading import Cells, check_type, read_cells
from trivet.columns import from_json
from trivet.contract import Column, Contract, Default, DType
from trivet.errors import BadSetting
from trivet.features.question import ARROW

AT = "trivet_at"
"""The column with the moment at which a row is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Why a row is not predicted; `row` counts from the beginning of what it is about."""

    row: int
    field: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """n rows of the entity file."""

    keys: pa.Table
    """The join keys, and `AT`."""
    request: pa.Table
    """The request columns; null where the file has none."""
    overrides: pa.Table
    """Features that the file has values for; null where it leaves them to the store."""
    kept: pa.Table
    """What of the file goes into the output."""
    label: pa.Array | None
    rejects: tuple[Reject, ...]

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return len(self.keys)


class Giver:
    """Reads rows of one entity file for one contract."""

    def __init__(self, contract: Contract, job: Job, schema: pa.Schema) -> None:
        """Check what does not depend on rows.

        Raises:
            BadSetting: a column is not there, or not of a type that could fit.
        """
        self._job, options = job, job.wanted.options
        self._lead = timedelta(seconds=contract.lead_seconds if options.moment == "event" else 0)
        self._timestamp = None if options.moment == "now" else options.timestamp
        self._keys = {key.name: key.dtype for key in contract.join_keys}
        self._request = contract.request_columns
        fed = (*contract.fed, *contract.computed)
        features = {c.name: c for c in fed if c not in self._request and c.name not in self._keys}
        self._overrides = [_known(features, name) for name in options.overrides]
        self._label = options.label
        self.kept = _kept(options.keep, (*self._keys, self._timestamp), schema)
        self._check(schema, features)
        taken = (*self._keys, self._timestamp, *(c.name for c in self._request), *options.overrides)
        wanted = [*taken, *self.kept, self._label]
        self.columns = [name for name in schema.names if name in wanted]
        """What has to be read of the file."""

    def read(self, table: pa.Table) -> Given:
        """Read n rows."""
        table = table.combine_chunks()
        rejects: list[Reject] = []
        shown = _Shown(table)
        keys = {
            name: shown.required(name, dtype, rejects).values for name, dtype in self._keys.items()
        }
        keys[AT] = self._moments(shown, rejects)
        request = {column.name: self._requested(shown, column, rejects) for column in self._request}
        overrides = {
            column.name: shown.cells(column.name, column.dtype, rejects).values
            for column in self._overrides
        }
        return Given(
            keys=pa.table(keys),
            request=pa.table(request) if request else _no_columns(len(table)),
            overrides=pa.table(overrides) if overrides else _no_columns(len(table)),
            kept=table.select(self.kept),
            label=None if self._label is None else shown.array(self._label),
            # A join key that is a column too is read as both, and would be said to be wrong twice.
            rejects=tuple(dict.fromkeys(rejects)),
        )

    def _moments(self, shown: _Shown, rejects: list[Reject]) -> pa.Array:
        if self._timestamp is None:
            return pa.repeat(pa.scalar(self._job.started, ARROW["timestamp"]), shown.rows)
        moments = shown.required(self._timestamp, "timestamp", rejects).values
        if not self._lead:
            return moments
        return pc.subtract(moments, pa.scalar(self._lead, pa.duration("us")))

    @staticmethod
    def _requested(shown: _Shown, column: Column, rejects: list[Reject]) -> pa.Array:
        if not shown.has(column.name):
            return pa.nulls(shown.rows, ARROW[column.dtype])
        if column.absent == "reject":
            return shown.required(column.name, column.dtype, rejects).values
        return shown.cells(column.name, column.dtype, rejects).values

    def _check(self, schema: pa.Schema, features: dict[str, Column]) -> None:
        needed: dict[str, DType] = dict(self._keys)
        if self._timestamp is not None:
            needed[self._timestamp] = "timestamp"
        needed |= {c.name: c.dtype for c in self._request if c.absent == "reject"}
        needed |= {column.name: column.dtype for column in self._overrides}
        hint = "--timestamp names the column with the moments, --now does without one."
        for name in needed:
            if name not in schema.names:
                raise BadSetting(
                    f"The entity file has no column {name}.",
                    hint=hint if name == self._timestamp else None,
                )
        if self._label is not None and self._label not in schema.names:
            raise BadSetting(f"The entity file has no column {self._label} for the label.")
        needed |= {c.name: c.dtype for c in self._request if c.name in schema.names}
        for name, dtype in needed.items():
            check_type(f"The entity file's {name}", dtype, schema.field(name).type)
        silent = sorted((features.keys() & set(schema.names)) - {c.name for c in self._overrides})
        if silent := [name for name in silent if name not in (self._timestamp, self._label)]:
            raise BadSetting(
                f"The entity file has {', '.join(silent)}, and so has the contract as features.",
                hint="--override NAME has the file's values count; else leave the column out.",
            )


class _Shown:
    """One part of the entity file, column by column."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.rows = len(table)

    def has(self, name: str) -> bool:
        return name in self._table.column_names

    def array(self, name: str) -> pa.Array:
        column = self._table[name]
        return column.chunk(0) if column.num_chunks else pa.array([], column.type)

    def cells(self, name: str, dtype: DType, rejects: list[Reject]) -> Cells:
        array = self.array(name)
        cells = read_cells(dtype, array)
        if cells.bad is not None:
            for row in np.flatnonzero(cells.bad).tolist():
                # Of a time out of range only the number can be shown.
                shown = array[row].value if dtype == "timestamp" else array[row].as_py()
                reason = f"{name}: {cells.why}, not {shown}"
                rejects.append(Reject(row=row, field=name, reason=reason))
        return cells

    def required(self, name: str, dtype: DType, rejects: list[Reject]) -> Cells:
        cells = self.cells(name, dtype, rejects)
        if cells.values.null_count:
            absent = np.asarray(cells.values.is_null())
            if cells.bad is not None:
                absent = absent & ~cells.bad
            reason = f"{name} is required"
            rejects += [
                Reject(row=r, field=name, reason=reason) for r in np.flatnonzero(absent).tolist()
            ]
        return cells


def with_defaults(columns: Sequence[Column], request: pa.Table) -> pa.Table:
    """Return request columns with the default where one stands in."""
    arrays = {column.name: _filled(column, request[column.name]) for column in columns}
    return pa.table(arrays) if arrays else request


def _filled(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.absent, Default) or not values.null_count:
        return values
    default = from_json(column.dtype, column.absent.default)
    return pc.fill_null(values, pa.scalar(default, values.type))


def _known(features: dict[str, Column], name: str) -> Column:
    if name not in features:
        raise BadSetting(
            f"The contract has no feature {name} to override.",
            hint=f"Its features: {', '.join(sorted(features)) or 'none'}.",
        )
    return features[name]


def _kept(keep: tuple[str, ...] | None, usual: Sequence[Any], schema: pa.Schema) -> list[str]:
    if keep is None:
        return list(dict.fromkeys(name for name in usual if name in schema.names))
    if unknown := [name for name in keep if name != "*" and name not in schema.names]:
        raise BadSetting(f"The entity file has no column {', '.join(unknown)} to keep.")
    return list(schema.names) if "*" in keep else list(dict.fromkeys(keep))


def _no_columns(rows: int) -> pa.Table:
    """Return a table of rows without columns, which knows how many there are."""
    return pa.table({"": pa.nulls(rows)}).select([])


def rejected_rows(rejects: Sequence[Reject]) -> Iterator[int]:
    """Yield the rows that are rejected, each once."""
    yield from dict.fromkeys(reject.row for reject in rejects)
