"""Read the online store for a contract, and enforce each view's time to live.

Feast returns an expired value online as PRESENT. Here the rule of the offline store holds online too:
a value is absent when it is older than its view's TTL at the moment of the request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from trivet.contract import Column, View
from trivet.errors import FeaturesUnavailable
from trivet.features.online_connection import connection_of
from trivet.features.values import AbsentValue, Features, Why

_Stored = tuple[datetime | None, dict[str, Value] | None]
"""One entity's row as an online store returns it: its event timestamp, and values by feature."""


class Wanted(Protocol):
    """What a reader reads: a contract, or a part of one."""

    @property
    def views(self) -> tuple[View, ...]:
        """The feature views."""

    def columns_of(self, view: str) -> tuple[Column, ...]:
        """Return the columns of one of them."""


class OnlineReader:
    """Reads feature columns: one batched read a feature view."""

    def __init__(self, store: FeatureStore, wanted: Wanted, limit: float | None = None) -> None:
        """Resolve views and names once, so that a read does only what depends on its keys.

        Args:
            store: of the project.
            wanted: the views and their columns.
            limit: seconds after which a read gives up; handed on to the store where it can take it.

        Raises:
            FeaturesUnavailable: the registry lacks a view or does not answer.
        """
        self._limit = limit
        self._connection = connection_of(store, limit)
        self._views = [
            _BoundView(store, view, wanted.columns_of(view.name)) for view in wanted.views
        ]

    def read(self, keys: Mapping[str, Sequence[Any]], at: datetime) -> Features:
        """Read the features of n rows.

        Args:
            keys: n values for every join key.
            at: the moment against which values expire.

        Raises:
            FeaturesUnavailable: the store failed; nothing is known about any row.
        """
        self._connection.require()
        started = time.monotonic()
        try:
            reads = [self._in_time(started, view).read(keys, at) for view in self._views]
        except FeaturesUnavailable:
            self._connection.failed()
            raise
        return Features(
            values={name: column for read in reads for name, column in read.values.items()},
            absent=tuple(value for read in reads for value in read.absent),
            event_times={view: times for read in reads for view, times in read.event_times.items()},
        )

    def _in_time(self, started: float, view: _BoundView) -> _BoundView:
        """Return the next view to read, if somebody is still waiting for it."""
        if self._limit is not None and time.monotonic() - started > self._limit:
            raise FeaturesUnavailable(f"The online store did not answer within {self._limit:g} s.")
        return view


class _BoundView:
    """One feature view of a contract, with everything about it that no request changes."""

    def __init__(self, store: FeatureStore, view: View, columns: Sequence[Column]) -> None:
        self._store = store
        self._view = view
        self._columns = columns
        self._names = [column.feature for column in self._columns]
        self._ttl = None if view.ttl_seconds is None else timedelta(seconds=view.ttl_seconds)
        self._feast_view = _feast_view(store, view.name)
        self._keys = _key_fields(self._feast_view, view)

    def read(self, keys: Mapping[str, Sequence[Any]], at: datetime) -> Features:
        """Read this view's columns for n rows; rows of one entity share one read of it."""
        rows = list(zip(*(keys[name] for name, _ in self._keys), strict=True))
        entities = {row: number for number, row in enumerate(dict.fromkeys(rows))}
        found = self._fetch(list(entities))
        values: dict[str, list[Any]] = {column.name: [] for column in self._columns}
        absent: list[AbsentValue] = []
        times: list[datetime | None] = []
        for number, row in enumerate(rows):
            moment, stored = found[entities[row]]
            known = known_time(moment)
            age = None if known is None else at - known
            times.append(known)
            for column in self._columns:
                value = None if age is None or stored is None else stored.get(column.feature)
                plain, why = self._judge(value, age)
                values[column.name].append(plain)
                if why is not None:
                    seconds = None if age is None else age.total_seconds()
                    absent.append(
                        AbsentValue(row=number, column=column, why=why, age_seconds=seconds)
                    )
        return Features(values=values, absent=tuple(absent), event_times={self._view.name: times})

    def _fetch(self, entities: list[tuple[Any, ...]]) -> Sequence[_Stored]:
        try:
            found: Sequence[_Stored] = self._store.provider.online_store.online_read(
                self._store.config,
                self._feast_view,
                [self._entity_key(entity) for entity in entities],
                # A copy: the Redis store changes the list that it is given.
                list(self._names),
            )
        except Exception as err:
            raise FeaturesUnavailable(
                f"The online store failed for {self._view.name}: {type(err).__name__}: {err}",
                hint="trivet materialize fills it; feature_store.yaml says where it is.",
            ) from err
        return found

    def _entity_key(self, entity: tuple[Any, ...]) -> EntityKey:
        return EntityKey(
            join_keys=[name for name, _ in self._keys],
            entity_values=[
                _key_value(field, value)
                for (_, field), value in zip(self._keys, entity, strict=True)
            ],
        )

    def _judge(self, value: Value | None, age: timedelta | None) -> tuple[Any, Why | None]:
        """Return a value, or None and why it is absent."""
        if age is None:
            return None, "missing"
        if self._ttl is not None and age > self._ttl:
            return None, "expired"
        plain = _decode(value)
        return plain, "null" if plain is None else None


def _feast_view(store: FeatureStore, name: str) -> FeatureView:
    try:
        return store.get_feature_view(name)
    except Exception as err:
        raise FeaturesUnavailable(
            f"Feast project {store.project} has no feature view {name}.",
            hint="feast apply in the feature repository brings it.",
        ) from err


def _key_fields(feast_view: FeatureView, view: View) -> list[tuple[str, str]]:
    """Return a view's join keys, each with the field of Feast's protobuf that holds its values.

    Stores find a row by the bytes of its key, and an int32 has other bytes than an int64.

    Raises:
        FeaturesUnavailable: the registry has other keys than the contract, or ones of a type by which
            Feast finds nothing.
    """
    kinds = {column.name: column.dtype.to_value_type() for column in feast_view.entity_columns}
    fields = [(name, _FIELD.get(kinds.get(name, ValueType.UNKNOWN))) for name in view.join_keys]
    if wrong := [name for name, field in fields if field is None]:
        raise FeaturesUnavailable(
            f"Feast finds no rows of {view.name} by {', '.join(wrong)}.",
            hint="A join key is a string, a whole number or a timestamp.",
        )
    return [(name, field) for name, field in fields if field is not None]


def known_time(moment: datetime | None) -> datetime | None:
    """Return a row's event timestamp in UTC; None where there is no row (Redis says the epoch)."""
    if moment is None:
        return None
    aware = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None if aware.timestamp() == 0 else aware


def _key_value(field: str, value: Any) -> Value:
    plain: Any = int(value.timestamp()) if isinstance(value, datetime) else value
    return Value(**{field: plain})


def _decode(value: Value | None) -> Any:
    """Return a stored value as Python has it; None for a null."""
    kind = None if value is None else value.WhichOneof("val")
    if kind is None or kind == "null_val":
        return None
    plain = getattr(value, kind)
    if kind == "unix_timestamp_val":
        return None if plain == _NO_TIME else datetime.fromtimestamp(plain, UTC)
    # A stored NaN is what pandas made of a null on its way into the store.
    return None if isinstance(plain, float) and math.isnan(plain) else plain


_FIELD: Mapping[ValueType, str] = {
    ValueType.STRING: "string_val",
    ValueType.INT32: "int32_val",
    ValueType.INT64: "int64_val",
    ValueType.UNIX_TIMESTAMP: "unix_timestamp_val",
}
_NO_TIME = -(2**63)
"""What Feast stores for a timestamp that is null."""
