"""Requests to rows: one Arrow batch from many entries.

What costs most is to call Arrow, not what it does then: columns are gathered as Python lists, all of
one type are turned into one Arrow array, and each column is a slice of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from trivet import logged
from trivet.contract import Contract, Default
from trivet.features.values import AbsentValue
from trivet.serving.log.entry import Entry

_Named = Iterator[tuple[str, list[Any]]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rows:
    """Turns entries of one contract into batches of its schema."""

    def __init__(self, contract: Contract, digest: str) -> None:
        """`digest`: the contract's, which takes a while to compute."""
        self.schema = logged.log_schema(contract)
        self._types = {field.name: field.type for field in self.schema}
        self._contract = contract
        self._features = [column for column in contract.fed if column.view is not None]
        self._sent = [column.name for column in contract.request_columns]
        self._same = {logged.MODEL: contract.model, logged.CONTRACT: digest}
        self._outputs = logged.output_fields(contract)

    def batch(self, entries: Sequence[Entry]) -> pa.RecordBatch:
        """Return one row an instance, in the order of the entries, of the requests that are kept.

        Args:
            entries: at least one.

        Raises:
            pyarrow.ArrowException, TypeError, ValueError, LookupError: a value is not of its column's
                type, or there is none.
        """
        at = _Positions(entries)
        lists = dict(chain(self._asked(entries), self._read(entries)))
        predictions = _join(entry.predictions for entry in entries)
        lists[logged.OUTPUT] = list(map(orjson.dumps, predictions))
        made = self._arrays(lists)
        made |= self._times(entries)
        made |= at.over_requests(self._arrays(dict(_of_requests(entries))))
        made |= self._statuses(at)
        made |= self._computed(entries, at)
        made |= self._documents(entries, at)
        for name, kind in self._outputs.items():
            made[f"trivet__{name}"] = _if_it_fits([p.get(name) for p in predictions], kind)
        made |= {name: pa.repeat(value, at.total) for name, value in self._same.items()}
        self._derive(made, at)
        batch = pa.record_batch([made[name] for name in self.schema.names], schema=self.schema)
        return batch if at.kept is None else batch.filter(at.kept)

    def _asked(self, entries: Sequence[Entry]) -> _Named:
        """Join keys and request columns, under their own names."""
        sent = chain.from_iterable(entry.asked.sent for entry in entries)
        yield from zip(self._sent, map(list, zip(*sent, strict=True)), strict=True)
        keys = [entry.asked.keys for entry in entries]
        for key in self._contract.join_keys:
            yield key.name, _join(map(itemgetter(key.name), keys))

    def _read(self, entries: Sequence[Entry]) -> _Named:
        """What the store gave."""
        given = [entry.features.values for entry in entries]
        for column in self._features:
            yield (
                logged.value_name(self._contract, column),
                _join(map(itemgetter(column.name), given)),
            )

    def _times(self, entries: Sequence[Entry]) -> dict[str, pa.Array]:
        """When what the store gave was known, and when it was read, in microseconds."""
        made = {}
        for view in self._contract.views:
            known = [self._of(view.name, entry, entry.features.known) for entry in entries]
            read = [self._of(view.name, entry, entry.features.read) for entry in entries]
            made[logged.event_time_name(view.name)] = _moments(_join(known))
            made[logged.read_time_name(view.name)] = _moments(_join(read))
        return made

    @staticmethod
    def _of(view: str, entry: Entry, moments: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
        """Return a batch's moments of one view; none where nothing was read of it."""
        return moments.get(view) or [None] * entry.asked.rows

    def _statuses(self, at: _Positions) -> dict[str, pa.Array]:
        present = np.full(at.total, logged.Status.PRESENT, dtype=np.int32)
        all_present = pa.array(present)
        made = {}
        for column in (*self._features, *self._contract.computed):
            statuses = all_present
            if marks := at.marks.get(column.name):
                changed = present.copy()
                for position, status in marks:
                    changed[position] = status
                statuses = pa.array(changed)
            made[logged.status_name(self._contract, column)] = statuses
        return made

    def _computed(self, entries: Sequence[Entry], at: _Positions) -> dict[str, pa.Array]:
        """What on-demand views computed, or the caller gave instead; it has no event time."""
        made: dict[str, pa.Array] = {}
        for column in self._contract.computed:
            values = np.concatenate([entry.columns[column.name] for entry in entries])
            absent = _nulls(values)
            absent[[position for position, _ in at.marks.get(column.name, ())]] = True
            name = logged.value_name(self._contract, column)
            made[name] = pa.array(values, mask=absent).cast(self._types[name], safe=False)
            moment = logged.timestamp_name(self._contract, column)
            made[moment] = pa.nulls(at.total, logged.FEAST_MOMENT)
        return made

    def _documents(self, entries: Sequence[Entry], at: _Positions) -> dict[str, pa.Array]:
        """What was absent, defaulted and overridden: for most rows nothing."""
        absent: dict[int, dict[str, Any]] = {}
        defaults: dict[int, dict[str, Any]] = {}
        overrides: dict[int, dict[str, Any]] = {}
        for entry, start in zip(entries, at.starts, strict=True):
            for value in entry.absent:
                absent.setdefault(start + value.row, {})[value.column.name] = value.why
                if isinstance(policy := value.column.absent, Default):
                    named = defaults.setdefault(start + value.row, {})
                    named[value.column.name] = policy.default
            for name, by_row in entry.asked.overrides.items():
                for row, given in by_row.items():
                    overrides.setdefault(start + row, {})[name] = given
        return {
            logged.ABSENT: _objects(absent, at.total),
            logged.DEFAULTS: _objects(defaults, at.total),
            logged.OVERRIDES: _objects(overrides, at.total),
        }

    def _derive(self, made: dict[str, pa.Array], at: _Positions) -> None:
        made[logged.LOG_DATE] = made[logged.LOG_TIMESTAMP].cast(pa.date32())
        made[logged.ROW] = pa.array(at.rows)
        seconds = {
            view.name: made[logged.event_time_name(view.name)].cast(logged.FEAST_MOMENT, safe=False)
            for view in self._contract.views
        }
        for column in self._features:
            moment = logged.timestamp_name(self._contract, column)
            made[moment] = seconds[str(column.view)]

    def _arrays(self, lists: dict[str, list[Any]]) -> dict[str, pa.Array]:
        """Turn lists of equal length into arrays, all of one type at once."""
        by_type: dict[pa.DataType, list[str]] = {}
        for name in lists:
            by_type.setdefault(self._types[name], []).append(name)
        made: dict[str, pa.Array] = {}
        for kind, names in by_type.items():
            whole = _array(_join(lists[name] for name in names), kind)
            rows = len(whole) // len(names)
            made |= {name: whole.slice(n * rows, rows) for n, name in enumerate(names)}
        return made


class _Positions:
    """Where the rows of each entry and request stand, and which values there were none of."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        counts = np.array([entry.asked.rows for entry in entries], dtype=np.int64)
        self.starts: list[int] = (counts.cumsum() - counts).tolist()
        self.total = int(counts.sum())
        requests = [request for entry in entries for request in entry.requests]
        self._requests = np.array([request.rows for request in requests], dtype=np.int64)
        starts = self._requests.cumsum() - self._requests
        within = np.arange(self.total) - np.repeat(starts, self._requests)
        self.rows = within.astype(np.int32)
        self.kept: pa.Array | None = None
        """Which rows count; None: all."""
        if not all(request.kept for request in requests):
            kept = np.array([request.kept for request in requests], dtype=np.bool_)
            self.kept = pa.array(np.repeat(kept, self._requests))
        self.marks: dict[str, list[tuple[int, int]]] = {}
        for entry, start in zip(entries, self.starts, strict=True):
            for value in entry.features.absent:
                self._mark(start, value)
            for value in entry.absent:
                if value.column.on_demand:
                    self._mark(start, value)

    def _mark(self, start: int, value: AbsentValue) -> None:
        marks = self.marks.setdefault(value.column.name, [])
        marks.append((start + value.row, logged.STATUS_OF[value.why]))

    def over_requests(self, arrays: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """Turn one value a request into one a row."""
        if self.total == len(self._requests):
            return arrays
        request = np.repeat(np.arange(len(self._requests)), self._requests)
        taken = pa.record_batch(arrays).take(pa.array(request))
        return dict(zip(arrays, taken.columns, strict=True))


def _of_requests(entries: Sequence[Entry]) -> _Named:
    """What is the same for all rows of a request."""
    both = [(entry, request) for entry in entries for request in entry.requests]
    yield logged.LOG_TIMESTAMP, [entry.asked_at for entry, _ in both]
    yield logged.REQUEST_ID, [request.request_id for _, request in both]
    yield logged.VERSION, [entry.version for entry, _ in both]
    yield logged.ROUTE, [request.route for _, request in both]
    yield logged.TOTAL, [request.total_seconds for _, request in both]
    yield logged.seconds_name("validate"), [request.validate_seconds for _, request in both]
    yield logged.seconds_name("features"), [request.features_seconds for _, request in both]
    for step in logged.STEPS[2:]:
        yield logged.seconds_name(step), [entry.seconds.get(step) for entry, _ in both]


def _join(parts: Iterable[Sequence[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def _nulls(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Say where a column that a model gets is null; see `trivet.columns`."""
    if values.dtype.kind in "fM":
        return np.asarray(np.isnan(values), dtype=np.bool_)  # of NaT too
    return np.array([value is None for value in values], dtype=np.bool_)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_timestamp(kind):
        return pa.array(values, kind)
    # As differences: pyarrow asks each moment for its offset from UTC, which takes six times as long.
    since = [None if value is None else value - _EPOCH for value in values]
    moments = pa.array(since, pa.duration("us")).view(logged.MOMENT)
    return moments if kind == logged.MOMENT else moments.cast(kind, safe=False)


def _moments(microseconds: list[int | None]) -> pa.Array:
    return pa.array(microseconds, pa.int64()).view(logged.MOMENT)


def _objects(by_position: dict[int, dict[str, Any]], total: int) -> pa.Array:
    """Return one JSON object a row, null where there is nothing to say."""
    if not by_position:
        return pa.nulls(total, pa.string())
    documents: list[bytes | None] = [None] * total
    for position, document in by_position.items():
        documents[position] = orjson.dumps(document)
    return pa.array(documents, pa.string())


def _if_it_fits(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values as a column, or nulls where a version's postprocess names other things so."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(len(values), kind)
