"""Requests to rows: one Arrow batch from many entries, column by column.

The thread that runs this competes with the event loop for the interpreter, so there is no work a row
but what a column needs, and `pause` is called after each column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from trivet import logged
from trivet.contract import Contract, Default, View
from trivet.features.values import AbsentValue
from trivet.serving.log.entry import Entry

Pause = Callable[[], None]


class Rows:
    """Turns entries of one contract into batches of its schema."""

    def __init__(self, contract: Contract, digest: str) -> None:
        """`digest`: the contract's, which takes a while to compute."""
        self.schema = logged.log_schema(contract)
        self._contract = contract
        self._digest = digest
        self._outputs = logged.output_fields(contract)

    def batch(self, entries: Sequence[Entry], pause: Pause = lambda: None) -> pa.RecordBatch:
        """Return one row an instance, in the order of the entries.

        Raises:
            pyarrow.ArrowException, TypeError, ValueError: a value is not of its column's type.
        """
        at = _Positions(entries)
        made: dict[str, pa.Array] = {}
        for name, array in chain(
            self._asked(entries, at),
            self._features(entries, at),
            self._requests(entries, at),
            self._answers(entries, at),
        ):
            made[name] = array
            pause()
        return pa.record_batch([made[name] for name in self.schema.names], schema=self.schema)

    def _asked(self, entries: Sequence[Entry], at: _Positions) -> Iterable[tuple[str, pa.Array]]:
        """Join keys and request columns, under their own names."""
        for column in self._contract.request_columns:
            values = _join(entry.asked.request[column.name] for entry in entries)
            yield column.name, self._typed(column.name, values)
        for key in self._contract.join_keys:
            values = _join(entry.asked.keys[key.name] for entry in entries)
            yield key.name, self._typed(key.name, values)
        yield logged.OVERRIDES, _documents(_overrides(entries, at), at.total)

    def _features(self, entries: Sequence[Entry], at: _Positions) -> Iterable[tuple[str, pa.Array]]:
        """What the store gave, with its status and event time, as Feast logs it."""
        store = _marked(chain.from_iterable(at.absent(e.features.absent, e) for e in entries))
        for view in self._contract.views:
            times = pa.array(_times(entries, view), logged.MOMENT)
            yield logged.event_time_name(view.name), times
            seconds = times.cast(logged.FEAST_MOMENT, safe=False)
            for column in self._contract.columns_of(view.name):
                values = _join(entry.features.values[column.name] for entry in entries)
                statuses = at.present
                if marks := store.get(column.name):
                    statuses = at.present.copy()
                    for position, status in marks:
                        statuses[position] = status
                        values[position] = None  # a default may stand there by now
                name = logged.value_name(column)
                yield name, self._typed(name, values)
                yield logged.timestamp_name(column), seconds
                yield logged.status_name(column), pa.array(statuses)

    def _requests(self, entries: Sequence[Entry], at: _Positions) -> Iterable[tuple[str, pa.Array]]:
        """What is the same for all rows of a request."""
        moments = at.spread(pa.array([entry.asked_at for entry in entries], logged.MOMENT))
        yield logged.LOG_TIMESTAMP, moments
        yield logged.LOG_DATE, moments.cast(pa.date32())
        same: dict[str, list[Any]] = {
            logged.REQUEST_ID: [entry.request_id for entry in entries],
            logged.VERSION: [entry.version for entry in entries],
            logged.ROUTE: [entry.route for entry in entries],
            logged.TOTAL: [entry.total_seconds for entry in entries],
        }
        for step in logged.STEPS:
            same[logged.seconds_name(step)] = [entry.seconds.get(step) for entry in entries]
        for name, values in same.items():
            yield name, at.spread(self._typed(name, values))
        yield logged.MODEL, pa.repeat(self._contract.model, at.total)
        yield logged.CONTRACT, pa.repeat(self._digest, at.total)
        yield logged.ROW, pa.array(at.rows)

    def _answers(self, entries: Sequence[Entry], at: _Positions) -> Iterable[tuple[str, pa.Array]]:
        """The predictions, and what the contract's policies did about absent values."""
        predictions = _join(entry.predictions for entry in entries)
        yield logged.OUTPUT, pa.array(list(map(orjson.dumps, predictions)), pa.string())
        for name, kind in self._outputs.items():
            yield f"trivet__{name}", _if_it_fits([p.get(name) for p in predictions], kind)
        absent: dict[int, dict[str, Any]] = {}
        defaults: dict[int, dict[str, Any]] = {}
        for entry in entries:
            for position, value in at.absent(entry.absent, entry):
                absent.setdefault(position, {})[value.column.name] = value.why
                if isinstance(policy := value.column.absent, Default):
                    defaults.setdefault(position, {})[value.column.name] = policy.default
        yield logged.ABSENT, _documents(absent, at.total)
        yield logged.DEFAULTS, _documents(defaults, at.total)

    def _typed(self, name: str, values: Sequence[Any]) -> pa.Array:
        kind = self.schema.field(name).type
        if pa.types.is_timestamp(kind) and kind != logged.MOMENT:
            return pa.array(values, logged.MOMENT).cast(kind, safe=False)
        return pa.array(values, kind)


class _Positions:
    """Where the rows of each entry stand in the batch."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        counts = np.array([entry.asked.rows for entry in entries], dtype=np.int64)
        ends = counts.cumsum()
        self.total = int(ends[-1])
        self.starts = dict(zip(map(id, entries), (ends - counts).tolist(), strict=True))
        self.present = np.full(self.total, logged.Status.PRESENT, dtype=np.int32)
        self._single = self.total == len(entries)
        self._entry = np.repeat(np.arange(len(entries)), counts)
        self.rows = (np.arange(self.total) - np.repeat(ends - counts, counts)).astype(np.int32)

    def spread(self, array: pa.Array) -> pa.Array:
        """Turn one value an entry into one a row."""
        return array if self._single else array.take(pa.array(self._entry))

    def absent(
        self, values: Iterable[AbsentValue], entry: Entry
    ) -> Iterable[tuple[int, AbsentValue]]:
        """Return absent values of an entry with their positions."""
        start = self.starts[id(entry)]
        return ((start + value.row, value) for value in values)


def _join(parts: Iterable[Sequence[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def _times(entries: Sequence[Entry], view: View) -> list[Any]:
    return _join(
        entry.features.event_times.get(view.name) or [None] * entry.asked.rows for entry in entries
    )


def _marked(absent: Iterable[tuple[int, AbsentValue]]) -> dict[str, list[tuple[int, int]]]:
    """Return the statuses of absent values, by column and position."""
    marks: dict[str, list[tuple[int, int]]] = {}
    for position, value in absent:
        marks.setdefault(value.column.name, []).append((position, logged.STATUS_OF[value.why]))
    return marks


def _overrides(entries: Sequence[Entry], at: _Positions) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        for name, by_row in entry.asked.overrides.items():
            for row, value in by_row.items():
                found.setdefault(at.starts[id(entry)] + row, {})[name] = value
    return found


def _documents(by_position: dict[int, dict[str, Any]], total: int) -> pa.Array:
    """Return one JSON object a row, null where there is nothing to say."""
    if not by_position:
        return pa.nulls(total, pa.string())
    documents: list[bytes | None] = [None] * total
    for position, document in by_position.items():
        documents[position] = orjson.dumps(document)
    return pa.array(documents, pa.string())


def _if_it_fits(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values as a column, or nulls where a postprocess of the version names other things so."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(len(values), kind)
