"""Requests to rows: one Arrow batch from many entries, column by column.

The thread that runs this competes with the event loop for the interpreter, so there is no work a row
but what a column needs, and `pause` is called after each column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from trivet import logged
from trivet.contract import Contract, Default, View
from trivet.features.values import AbsentValue
from trivet.serving.log.entry import Entry

Pause = Callable[[], None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        sent = [entry.asked.request for entry in entries]
        for column in self._contract.request_columns:
            yield column.name, self._typed(column.name, _join(map(itemgetter(column.name), sent)))
        keys = [entry.asked.keys for entry in entries]
        for key in self._contract.join_keys:
            yield key.name, self._typed(key.name, _join(map(itemgetter(key.name), keys)))
        yield logged.OVERRIDES, _documents(_overrides(entries, at), at.total)

    def _features(self, entries: Sequence[Entry], at: _Positions) -> Iterable[tuple[str, pa.Array]]:
        """What the store gave, with its status and event time, as Feast logs it."""
        store = _marked(
            found for e in entries if e.features.absent for found in at.absent(e.features.absent, e)
        )
        given = [entry.features.values for entry in entries]
        for view in self._contract.views:
            times = _moments(_times(entries, view))
            yield logged.event_time_name(view.name), times
            seconds = times.cast(logged.FEAST_MOMENT, safe=False)
            for column in self._contract.columns_of(view.name):
                values = _join(map(itemgetter(column.name), given))
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
        moments = at.spread(_moments([entry.asked_at for entry in entries]))
        yield logged.LOG_TIMESTAMP, moments
        yield logged.LOG_DATE, moments.cast(pa.date32())
        same: dict[str, list[Any]] = {
            logged.REQUEST_ID: [entry.request_id for entry in entries],
            logged.VERSION: [entry.version for entry in entries],
            logged.ROUTE: [entry.route for entry in entries],
            logged.TOTAL: [entry.total_seconds for entry in entries],
        }
        seconds = [entry.seconds for entry in entries]
        for step in logged.STEPS:
            same[logged.seconds_name(step)] = [took.get(step) for took in seconds]
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
        for entry in (entry for entry in entries if entry.absent):
            for position, value in at.absent(entry.absent, entry):
                absent.setdefault(position, {})[value.column.name] = value.why
                if isinstance(policy := value.column.absent, Default):
                    defaults.setdefault(position, {})[value.column.name] = policy.default
        yield logged.ABSENT, _documents(absent, at.total)
        yield logged.DEFAULTS, _documents(defaults, at.total)

    def _typed(self, name: str, values: Sequence[Any]) -> pa.Array:
        kind = self.schema.field(name).type
        if pa.types.is_timestamp(kind):
            return _moments(values).cast(kind, safe=False)
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


def _moments(values: Sequence[datetime | None]) -> pa.Array:
    """Return aware datetimes as `logged.MOMENT`.

    By their differences: pyarrow asks each for its offset from UTC, which takes six times as long.
    """
    since = [None if value is None else value - _EPOCH for value in values]
    return pa.array(since, pa.duration("us")).cast(pa.int64()).cast(logged.MOMENT)


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
    for entry in (entry for entry in entries if entry.asked.overrides):
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
