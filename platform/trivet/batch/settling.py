"""Policies over columns: `trivet.serving.settling` for thousands of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trivet.batch.arrays import to_array
from trivet.batch.given import AT, Given, Reject, with_defaults
from trivet.batch.reading import without_nan
from trivet.columns import from_json
from trivet.contract import Column, Contract, Default, View

if TYPE_CHECKING:
    from trivet.features.on_demand import OnDemandTransform

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Rows with everything in place."""

    rows: npt.NDArray[np.int64]
    """Which of the n rows are left, ascending: m of them."""
    columns: dict[str, npt.NDArray[Any]]
    """m values of each of the contract's columns."""
    features: dict[str, pa.ChunkedArray]
    """The same as Arrow has them."""
    absent: dict[str, Mask]
    """By column [m]: where there was no value, whatever stands in for it."""
    rejects: tuple[Reject, ...]
    """Of the others; their rows count among the n."""


def settle(
    contract: Contract, transforms: Sequence[OnDemandTransform], given: Given, features: pa.Table
) -> Settled:
    """Put overrides and policies over features, and compute what is computed on demand.

    Args:
        contract: of the version.
        transforms: its on-demand views' code.
        given: n rows without a reject.
        features: the n rows' columns of feature views.

    Raises:
        PredictionFailed: an on-demand view's code failed.
    """
    settling = _Settling(contract, given, features)
    settling.apply(settling.read_columns)
    if transforms:
        settling.compute(transforms)
        settling.apply(contract.computed)
    return settling.done()


class _Settling:
    def __init__(self, contract: Contract, given: Given, features: pa.Table) -> None:
        self._contract = contract
        self._given = given
        self._rows = np.arange(given.rows)
        self._request = with_defaults(contract.request_columns, given.request)
        self._values = {name: features[name] for name in features.column_names}
        self._absent: dict[str, Mask] = {}
        self._rejects: list[Reject] = []
        views = contract.views
        self.read_columns = tuple(c for view in views for c in contract.columns_of(view.name))

    def apply(self, columns: Sequence[Column]) -> None:
        """Settle some columns, and leave out the rows that may not lack one of them."""
        found: dict[str, Mask] = {}
        for column in columns:
            values = self._overridden(column)
            absent = np.asarray(values.is_null())
            if isinstance(column.absent, Default) and absent.any():
                default = from_json(column.dtype, column.absent.default)
                values = pc.fill_null(values, pa.scalar(default, values.type))
            self._values[column.name] = values
            found[column.name] = absent
        refused = [c for c in columns if c.absent == "reject" and found[c.name].any()]
        self._absent |= {name: mask for name, mask in found.items() if mask.any()}
        if refused:
            self._refuse(refused)

    def compute(self, transforms: Sequence[OnDemandTransform]) -> None:
        """Compute the columns of on-demand views."""
        from trivet.features.computed import with_computed

        contract = self._contract
        inputs = (*contract.request_columns, *self.read_columns)
        made = with_computed(
            contract.computed, inputs, transforms, self._request, pa.table(self._values)
        )
        self._values |= {column.name: made[column.name] for column in contract.computed}

    def done(self) -> Settled:
        columns = self._contract.columns
        whole = {
            c.name: self._values[c.name] if c.name in self._values else self._request[c.name]
            for c in columns
        }
        return Settled(
            rows=self._rows,
            columns={column.name: to_array(column, whole[column.name]) for column in columns},
            features=whole,
            absent=self._absent,
            rejects=tuple(self._rejects),
        )

    def _overridden(self, column: Column) -> pa.ChunkedArray:
        values = self._values[column.name]
        # A NaN that was stored was a null once; one that was computed is what preprocess gets.
        if pa.types.is_floating(values.type) and not column.on_demand:
            values = pa.chunked_array([without_nan(values.combine_chunks())])
        if column.name not in self._given.overrides.column_names:
            return values
        own = self._given.overrides[column.name].take(pa.array(self._rows))
        return pc.coalesce(own, values)

    def _refuse(self, columns: Sequence[Column]) -> None:
        masks = {column.name: self._absent[column.name] for column in columns}
        views = {view.name: view for view in self._contract.views}
        for column in columns:
            for place in np.flatnonzero(masks[column.name]).tolist():
                row = int(self._rows[place])
                view = None if column.view is None else views[column.view]
                reason = _reason(column, view, self._given.keys, row)
                self._rejects.append(Reject(row=row, field=column.name, reason=reason))
        left = ~np.logical_or.reduce(list(masks.values()))
        kept = pa.array(left)
        self._rows = self._rows[left]
        self._request = self._request.filter(kept)
        self._values = {name: values.filter(kept) for name, values in self._values.items()}
        self._absent = {name: mask[left] for name, mask in self._absent.items()}


def _reason(column: Column, view: View | None, keys: pa.Table, row: int) -> str:
    """Say what a value is missing for: a join does not tell an unknown entity from an old value."""
    names = keys.column_names if view is None else view.join_keys
    shown = ", ".join(f"{name}={keys[name][row].as_py()!r}" for name in names if name != AT)
    if view is None:
        return f"{column.name} is null for {shown}"
    aged = "" if view.ttl_seconds is None else f", older than {view.ttl_seconds:g} s"
    at = keys[AT][row].as_py().isoformat().replace("+00:00", "Z")
    return f"{column.name} is unknown{aged}, or null for {shown} at {at}"


def names_of_absent(absent: dict[str, Mask], rows: int) -> pa.ListArray:
    """Return for each of m rows the names of what was absent, in the order of the columns."""
    names = list(absent)
    matrix = np.stack([absent[name] for name in names], axis=1) if names else np.zeros((rows, 0))
    offsets = np.concatenate([[0], matrix.sum(axis=1).cumsum()]).astype(np.int32)
    which = pa.array(np.nonzero(matrix)[1], pa.int32())
    values = pa.array(names, pa.string()).take(which)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def blocks(rows: int, size: int) -> Iterator[slice]:
    """Yield the parts of so many rows, one after the other."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
