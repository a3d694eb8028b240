"""The join keys of a feature view: how a request names an entity, and how Feast's stores do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from feast import FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from trivet.contract import View
from trivet.errors import FeaturesUnavailable
from trivet.features.values import Keys

MadeKeys: TypeAlias = dict[tuple[tuple[str, str], ...], dict[Any, EntityKey]]
"""Keys of Feast's by the join keys that they are of, and by entity; for one request."""


class EntityKeys:
    """A view's join keys: entities as the cache knows them, and as Feast's stores do."""

    def __init__(self, feast_view: FeatureView, view: View) -> None:
        """Find out how Feast writes each of the contract's join keys.

        Raises:
            FeaturesUnavailable: the registry has other keys than the contract, or ones of a type by
                which Feast finds nothing.
        """
        self._fields = tuple(_key_fields(feast_view, view))
        self._names = [name for name, _ in self._fields]

    def entities(self, keys: Keys) -> Sequence[Any]:
        """Return n entities: the one join key's values as they are, or tuples of several."""
        if len(self._names) == 1:
            return keys[self._names[0]]
        return list(zip(*(keys[name] for name in self._names), strict=True))

    def of_feast(self, entities: Sequence[Any], made: MadeKeys) -> list[EntityKey]:
        """Return n of Feast's keys; views by the same keys share them, since they cost to make."""
        known = made.setdefault(self._fields, {})
        for entity in entities:
            if entity not in known:
                known[entity] = self._one(entity)
        return [known[entity] for entity in entities]

    def _one(self, entity: Any) -> EntityKey:
        values = (entity,) if len(self._fields) == 1 else entity
        return EntityKey(
            join_keys=self._names,
            entity_values=[
                _key_value(field, value)
                for (_, field), value in zip(self._fields, values, strict=True)
            ],
        )


def _key_fields(feast_view: FeatureView, view: View) -> list[tuple[str, str]]:
    """Return a view's join keys, each with the field of Feast's protobuf that holds its values.

    Stores find a row by the bytes of its key, and an int32 has other bytes than an int64.
    """
    kinds = {column.name: column.dtype.to_value_type() for column in feast_view.entity_columns}
    fields = [(name, _KEY_FIELD.get(kinds.get(name, ValueType.UNKNOWN))) for name in view.join_keys]
    if wrong := [name for name, field in fields if field is None]:
        raise FeaturesUnavailable(
            f"Feast finds no rows of {view.name} by {', '.join(wrong)}.",
            hint="A join key is a string, a whole number or a timestamp.",
        )
    return [(name, field) for name, field in fields if field is not None]


def _key_value(field: str, value: Any) -> Value:
    plain: Any = int(value.timestamp()) if isinstance(value, datetime) else value
    return Value(**{field: plain})


_KEY_FIELD: Mapping[ValueType, str] = {
    ValueType.STRING: "string_val",
    ValueType.INT32: "int32_val",
    ValueType.INT64: "int64_val",
    ValueType.UNIX_TIMESTAMP: "unix_timestamp_val",
}
