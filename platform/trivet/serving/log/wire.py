"""Entries on their way from a worker to the process that writes them.

Each message is framed by its length and the number of rows in it, so that one which cannot be read
is lost alone, and counted. Both ends are the same program on the same machine: pickle, which takes
whatever a model's own postprocess gives, is as good as its other end.

A contract goes over once, before its first entry; of what an entry refers to, only what is logged.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from trivet.contract import Column, Contract
from trivet.features.values import AbsentValue, Features, Why
from trivet.serving.asking import Asked
from trivet.serving.log.entry import Answered, Entry

_HEADER = struct.Struct(">IQ")

_Absent: TypeAlias = tuple[int, str, Why]


class Refused(NamedTuple):
    """A message that could not be read."""

    rows: int
    why: Exception


class _Contract(NamedTuple):
    digest: str
    contract: Contract


class _Sent(NamedTuple):
    """An entry as it is sent: as a plain tuple, which is the quickest to pickle."""

    requests: list[tuple[Any, ...]]
    asked_at: datetime
    digest: str
    version: int
    asked: tuple[Any, ...]
    values: dict[str, list[Any]]
    known: dict[str, list[int | None]]
    read: dict[str, list[int]]
    store_lacked: list[_Absent]
    model_lacked: list[_Absent]
    computed: dict[str, Any]
    predictions: list[dict[str, Any]]
    seconds: dict[str, float]


def frame(message: Any, rows: int = 0) -> bytes:
    """Return a message as bytes.

    Raises:
        Exception: whatever the pickling of a value raises.
    """
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEADER.pack(len(body), rows) + body


def messages(
    stream: BinaryIO, unpack: Callable[[Any], Any] = lambda message: message
) -> Iterator[Any]:
    """Yield the messages of a stream until it ends, within a message too; `Refused` for a bad one.

    Args:
        stream: of frames.
        unpack: makes of a message what is yielded; one that it raises for is a bad one too.
    """
    while len(header := stream.read(_HEADER.size)) == _HEADER.size:
        length, rows = _HEADER.unpack(header)
        body = stream.read(length)
        if len(body) < length:
            return
        try:
            # S301: it is from this program's own other half.
            message = unpack(pickle.loads(body))  # noqa: S301
        except Exception as err:  # noqa: BLE001 - a value of a model's own class can raise anything
            message = Refused(rows, err)
        yield message


class Packer:
    """Packs entries for one receiver, which gets each contract once."""

    def __init__(self) -> None:
        """It has none yet."""
        self._computed: dict[str, list[str]] = {}
        """Names of the columns that on-demand views compute, by contract."""

    def pack(self, entries: Sequence[Entry]) -> bytes:
        """Return entries as bytes; see `frame`. If it raises, nothing counts as packed."""
        parts = []
        computed = self._computed
        for entry in entries:
            if entry.digest not in computed:
                parts.append(frame(_Contract(entry.digest, entry.contract)))
                names = [column.name for column in entry.contract.computed]
                computed = {**computed, entry.digest: names}
        sent = [_sent(entry, computed[entry.digest]) for entry in entries]
        parts.append(frame(sent, sum(entry.rows for entry in entries)))
        self._computed = computed
        return b"".join(parts)


class Unpacker:
    """Makes entries of messages."""

    def __init__(self) -> None:
        """No contract is known yet."""
        self._contracts: dict[str, Contract] = {}
        self._columns: dict[str, dict[str, Column]] = {}

    def unpack(self, message: Any) -> list[Entry]:
        """Return the entries of a message; one that brings a contract has none.

        Raises:
            KeyError: their contract has not come.
        """
        if isinstance(message, _Contract):
            columns = (*message.contract.columns, *message.contract.inputs)
            self._contracts[message.digest] = message.contract
            self._columns[message.digest] = {column.name: column for column in columns}
            return []
        return [self._entry(_Sent._make(sent)) for sent in message]

    def _entry(self, sent: _Sent) -> Entry:
        contract = self._contracts[sent.digest]
        return Entry(
            requests=[_answered(request) for request in sent.requests],
            asked_at=sent.asked_at,
            contract=contract,
            digest=sent.digest,
            version=sent.version,
            asked=_asked(sent.asked),
            features=Features(
                values=sent.values,
                absent=self._absent(sent.digest, sent.store_lacked),
                known=sent.known,
                read=sent.read,
            ),
            absent=self._absent(sent.digest, sent.model_lacked),
            columns=sent.computed,
            predictions=sent.predictions,
            seconds=sent.seconds,
        )

    def _absent(self, digest: str, lacked: Sequence[_Absent]) -> tuple[AbsentValue, ...]:
        columns = self._columns[digest]
        return tuple(
            [
                AbsentValue(row=row, column=columns[name], why=why, age_seconds=None)
                for row, name, why in lacked
            ]
        )


def _sent(entry: Entry, computed: Sequence[str]) -> tuple[Any, ...]:
    asked, features = entry.asked, entry.features
    return tuple(
        _Sent(
            requests=[_told(request) for request in entry.requests],
            asked_at=entry.asked_at,
            digest=entry.digest,
            version=entry.version,
            asked=(asked.rows, asked.keys, asked.sent, asked.names, asked.overrides),
            values=features.values,
            known=features.known,
            read=features.read,
            store_lacked=_lacked(features.absent),
            model_lacked=_lacked(entry.absent),
            computed={name: entry.columns[name] for name in computed},
            predictions=entry.predictions,
            seconds=entry.seconds,
        )
    )


def _told(request: Answered) -> tuple[Any, ...]:
    return (
        request.request_id,
        request.route,
        request.rows,
        request.validate_seconds,
        request.features_seconds,
        request.total_seconds,
        request.kept,
    )


def _lacked(absent: Sequence[AbsentValue]) -> list[_Absent]:
    return [(value.row, value.column.name, value.why) for value in absent]


def _answered(sent: tuple[Any, ...]) -> Answered:
    request_id, route, rows, validate, features, total, kept = sent
    return Answered(
        request_id=request_id,
        route=route,
        rows=rows,
        validate_seconds=validate,
        features_seconds=features,
        total_seconds=total,
        kept=kept,
    )


def _asked(sent: tuple[Any, ...]) -> Asked:
    rows, keys, given, names, overrides = sent
    return Asked(rows=rows, keys=keys, sent=given, names=names, overrides=overrides)
