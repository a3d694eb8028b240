"""Replay what on-demand views compute: by today's code, from what was served and from the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from trivet.contract import REQUEST, Column, OnDemandView
from trivet.errors import BadSetting, PredictionFailed
from trivet.features.computed import with_computed
from trivet.features.on_demand import OnDemandTransform, present_transform
from trivet.features.past import Store
from trivet.features.question import ARROW, ROW
from trivet.observe.skew.causes import Mask, judge_computed
from trivet.observe.skew.replay import Replayed
from trivet.observe.skew.served import LoggedRows
from trivet.observe.skew.values import converted, equal, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What a transform made of n rows: its columns by name, null in rows on which it failed."""

    columns: pa.Table
    failed: Mask


def replay_computed(
    store: Store, rows: LoggedRows, replayed: Mapping[str, Replayed]
) -> dict[str, Replayed]:
    """Replay the columns of a contract's on-demand views.

    Args:
        store: of the contract's project.
        rows: n logged rows of one contract.
        replayed: the columns of feature views, inputs included, by name.

    Returns:
        n values of each computed column, by name; the offline ones come of the offline inputs.
    """
    found: dict[str, Replayed] = {}
    for view in rows.contract.on_demand:
        found |= _replay(store, rows, replayed, view)
    return found


def _replay(
    store: Store, rows: LoggedRows, replayed: Mapping[str, Replayed], view: OnDemandView
) -> dict[str, Replayed]:
    columns = [column for column in rows.contract.computed if column.feature in view.outputs]
    code = _Code(rows, columns, present_transform(store, view.name))
    again = code.run({name: one.served.got for name, one in replayed.items()})
    offline = code.run(
        {name: converted(one.served.column, one.offline) for name, one in replayed.items()}
    )
    inputs = [replayed[name].codes for name in view.inputs if name in replayed]
    made = {}
    for column in columns:
        served = rows.served(column)
        was, would = (plain(part.columns[column.name], column.dtype) for part in (again, offline))
        codes = judge_computed(
            equal=equal(served.stored, would) & ~offline.failed,
            overridden=served.overridden,
            code_differs=~equal(served.stored, was) | again.failed,
            inputs=inputs,
        )
        made[column.name] = Replayed(served=served, offline=would, event=None, codes=codes)
    return made


class _Code:
    """The columns that one on-demand view computes, by the code that the registry has now."""

    def __init__(
        self, rows: LoggedRows, columns: Sequence[Column], transform: OnDemandTransform | None
    ) -> None:
        self._columns = columns
        self._fed = rows.contract.fed
        self._transform = transform
        sent = {c.name: rows.sent(c) for c in self._fed if c.source == REQUEST}
        # Beside a column of their own, so that a table without any other has its rows.
        self._numbers = {ROW: pa.array(np.arange(len(rows)))}
        self._sent = pa.table({**self._numbers, **sent})

    def run(self, features: Mapping[str, pa.Array]) -> _Made:
        """Compute all rows from features by column name."""
        table = pa.table({**self._numbers, **features})
        known = {*self._sent.column_names, *table.column_names}
        runs = self._transform is not None and (
            set(self._transform.inputs) <= known
            and {column.feature for column in self._columns} <= set(self._transform.outputs)
        )
        return self._by_halves(self._sent, table) if runs else self._failed(len(table))

    def _by_halves(self, sent: pa.Table, features: pa.Table) -> _Made:
        """Compute rows; those on which the code fails are looked for by halving."""
        n, code = len(features), cast("OnDemandTransform", self._transform)
        try:
            made = with_computed(self._columns, self._fed, [code], sent, features)
            return _Made(columns=made, failed=np.zeros(n, dtype=np.bool_))
        except (BadSetting, PredictionFailed):
            if n <= 1:
                return self._failed(n)
        half = n // 2
        parts = [
            self._by_halves(sent.slice(start, size), features.slice(start, size))
            for start, size in ((0, half), (half, n - half))
        ]
        return _Made(
            columns=pa.concat_tables([part.columns for part in parts]),
            failed=np.concatenate([part.failed for part in parts]),
        )

    def _failed(self, n: int) -> _Made:
        nulls = {column.name: pa.nulls(n, ARROW[column.dtype]) for column in self._columns}
        return _Made(columns=pa.table(nulls), failed=np.ones(n, dtype=np.bool_))
