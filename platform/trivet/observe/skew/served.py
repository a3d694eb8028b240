"""What logged rows say of each column: what the store gave, and what the model got instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trivet import logged
from trivet.columns import from_json
from trivet.contract import Column, Contract
from trivet.features.question import ARROW
from trivet.observe.skew.causes import NEVER, Mask, Micros
from trivet.observe.skew.values import micros, plain

_ByColumn = Mapping[str, Mapping[int, Any]]
"""Values by column and row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One column of n logged rows."""

    column: Column
    stored: pa.Array
    """What the online store gave, or an on-demand view computed; null where nothing was usable."""
    got: pa.Array
    """What the model got: the override, else the default, else the same."""
    status: npt.NDArray[np.int32]
    """Numbers of `logged.Status`."""
    overridden: Mask
    defaulted: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRows:
    """Rows of one contract, as `trivet.observe.log.read_log` gives them."""

    contract: Contract
    table: pa.Table
    overrides: _ByColumn = field(default_factory=dict)
    defaults: _ByColumn = field(default_factory=dict)

    def __len__(self) -> int:
        """Return n."""
        return int(self.table.num_rows)

    @property
    def keys(self) -> pa.Table:
        """The join keys."""
        return self.table.select([key.name for key in self.contract.join_keys])

    def keys_of(self, column: Column) -> pa.Table:
        """Return the join keys by which a column is read; all of them for a computed one."""
        views = [view for view in self.contract.views if view.name == column.view]
        return self.keys.select(views[0].join_keys) if views else self.keys

    @property
    def asked(self) -> Micros:
        """When each row was asked for."""
        return micros(self.table[logged.LOG_TIMESTAMP])

    def read(self, view: str) -> Micros:
        """Return when each row's values of a view were read from the online store."""
        name = logged.read_time_name(view)
        if name not in self.table.column_names:
            return self.asked
        read = micros(self.table[name])
        return np.where(read == NEVER, self.asked, read)

    def events(self, view: str) -> Micros:
        """Return the event times that were served of a view."""
        return micros(self.table[logged.event_time_name(view)])

    def sent(self, column: Column) -> pa.Array:
        """Return a request column."""
        return plain(self.table[column.name], column.dtype)

    def served(self, column: Column) -> Served:
        """Return what is logged of a column that is read or computed."""
        name = logged.value_name(self.contract, column)
        stored = plain(self.table[name], column.dtype)
        overrides = self.overrides.get(column.name, {})
        defaults = self.defaults.get(column.name, {})
        status = self.table[logged.status_name(self.contract, column)]
        return Served(
            column=column,
            stored=stored,
            got=_instead(column, stored, {**defaults, **overrides}),
            status=status.fill_null(int(logged.Status.PRESENT)).to_numpy(),
            overridden=_at(overrides, len(self)),
            defaulted=_at(defaults, len(self)),
        )


def logged_rows(contract: Contract, rows: pa.Table) -> LoggedRows:
    """Return rows of one contract with their columns as that contract has them.

    Args:
        contract: of all the rows.
        rows: of a log, in which a column may be of the type that another contract gave it.
    """
    schema = logged.log_schema(contract)
    kept = [name for name in schema.names if name in rows.column_names]
    arrays = {name: rows[name].cast(schema.field(name).type) for name in kept}
    for view in contract.views:
        if (name := logged.read_time_name(view.name)) in rows.column_names:
            arrays[name] = rows[name]
    return LoggedRows(
        contract=contract,
        table=pa.table(arrays),
        overrides=_documents(rows[logged.OVERRIDES]),
        defaults=_documents(rows[logged.DEFAULTS]),
    )


def _documents(column: pa.ChunkedArray) -> dict[str, dict[int, Any]]:
    """Return the values of a log's documents by column and row; most rows have none."""
    found: dict[str, dict[int, Any]] = {}
    for row, document in enumerate(column.to_pylist()):
        if document is not None:
            for name, value in json.loads(document).items():
                found.setdefault(name, {})[row] = value
    return found


def _instead(column: Column, stored: pa.Array, given: Mapping[int, Any]) -> pa.Array:
    if not given:
        return stored
    values = stored.to_pylist()
    for row, value in given.items():
        values[row] = from_json(column.dtype, value)
    return plain(pa.array(values, ARROW[column.dtype]), column.dtype)


def _at(rows: Mapping[int, Any], n: int) -> Mask:
    mask = np.zeros(n, dtype=np.bool_)
    mask[list(rows)] = True
    return mask
