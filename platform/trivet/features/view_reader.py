"""Read one feature view from the online store: keys in, decoded rows out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from trivet.contract import Column, View
from trivet.errors import FeaturesUnavailable
from trivet.features.cache import RowCache
from trivet.features.values import Keys, StoredRow, to_microseconds

_Stored = tuple[datetime | None, dict[str, Value] | None]
"""One entity's row as an online store returns it: its event timestamp, and values by feature."""


class ViewReader:
    """One feature view of a contract, with everything about it that no request changes."""

    def __init__(
        self, store: FeatureStore, view: View, columns: Sequence[Column], cache: RowCache
    ) -> None:
        """Look the view up in the registry.

        Raises:
            FeaturesUnavailable: the registry lacks it, has other keys, or does not answer.
        """
        self.view = view
        self.columns = columns
        self._store = store
        self._names = [column.feature for column in columns]
        self._feast_view = _feast_view(store, view.name)
        self._keys = _key_fields(self._feast_view, view)
        self._key_names = [name for name, _ in self._keys]
        self._cached = cache.table(store.project, view.name, self._names)
        self._nothing = (None,) * len(columns)

    def recall(self, keys: Keys, at: int) -> list[StoredRow] | None:
        """Return the rows of n entities from the cache; None unless all are there."""
        return self._cached.find(self._entities(keys), at)

    def fetch(self, keys: Keys, at: int, *, anew: bool = False) -> list[StoredRow]:
        """Return the rows of n entities; those that the cache has not are read at once.

        Rows of one entity share one read of it. `anew`: all are read.
        """
        entities = self._entities(keys)
        found, unknown = (
            ({}, list(dict.fromkeys(entities))) if anew else self._cached.split(entities, at)
        )
        if unknown:
            fresh = self._read(unknown, at)
            self._cached.keep(fresh)
            found.update(fresh)
        return [found[entity] for entity in entities]

    def _entities(self, keys: Keys) -> Sequence[Any]:
        """Return n entities: the one join key's values as they are, or tuples of several."""
        if len(self._key_names) == 1:
            return keys[self._key_names[0]]
        return list(zip(*(keys[name] for name in self._key_names), strict=True))

    def _read(self, entities: list[Any], at: int) -> dict[Any, StoredRow]:
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
                f"The online store failed for {self.view.name}: {type(err).__name__}: {err}",
                hint="trivet materialize fills it; feature_store.yaml says where it is.",
            ) from err
        rows = (self._decoded(moment, stored, at) for moment, stored in found)
        return dict(zip(entities, rows, strict=True))

    def _entity_key(self, entity: Any) -> EntityKey:
        values = (entity,) if len(self._keys) == 1 else entity
        return EntityKey(
            join_keys=self._key_names,
            entity_values=[
                _key_value(field, value)
                for (_, field), value in zip(self._keys, values, strict=True)
            ],
        )

    def _decoded(
        self, moment: datetime | None, stored: dict[str, Value] | None, at: int
    ) -> StoredRow:
        known = known_time(moment)
        if known is None or stored is None:
            return StoredRow(values=self._nothing, known=None, read=at)
        values = tuple([_decode(stored.get(name)) for name in self._names])
        return StoredRow(
            values=values,
            known=to_microseconds(known),
            read=at,
            nulls=tuple([n for n, value in enumerate(values) if value is None])
            if None in values
            else (),
        )


def known_time(moment: datetime | None) -> datetime | None:
    """Return a row's event timestamp in UTC; None where there is no row (Redis says the epoch)."""
    if moment is None:
        return None
    aware = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None if aware == _NO_MOMENT else aware


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
_NO_MOMENT = datetime.fromtimestamp(0, UTC)
