"""Read one feature view from the online store: keys in, decoded rows out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from trivet.contract import Column, View
from trivet.errors import FeaturesUnavailable
from trivet.features.cache import RowCache
from trivet.features.entity_keys import EntityKeys, MadeKeys
from trivet.features.values import Keys, StoredRow, to_microseconds

_Stored = tuple[datetime | None, dict[str, Value] | None]
"""One entity's row as an online store returns it: its event timestamp, and values by feature."""

_Get = Callable[[Value], Any]


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
        self._keys = EntityKeys(self._feast_view, view)
        self._fields = _value_fields(self._feast_view, self._names)
        self._cached = cache.table(store.project, view.name, self._names)
        self._nothing = (None,) * len(columns)

    def recall(self, keys: Keys, at: int) -> list[StoredRow] | None:
        """Return the rows of n entities from the cache; None unless all are there."""
        return self._cached.find(self._keys.entities(keys), at)

    def fetch(self, keys: Keys, at: int, made: MadeKeys, *, anew: bool = False) -> list[StoredRow]:
        """Return the rows of n entities; those that the cache has not are read at once.

        Rows of one entity share one read of it.

        Args:
            keys: n values for every join key.
            at: the moment of the read, in microseconds.
            made: keys of Feast's that other views of the same request have made.
            anew: read all of them.
        """
        entities = self._keys.entities(keys)
        found, unknown = self._cached.split(() if anew else entities, at)
        if anew:
            unknown = list(dict.fromkeys(entities))
        if unknown:
            fresh = self._read(unknown, at, made)
            self._cached.keep(fresh)
            found.update(fresh)
        return [found[entity] for entity in entities]

    def _read(self, entities: list[Any], at: int, made: MadeKeys) -> dict[Any, StoredRow]:
        try:
            found: Sequence[_Stored] = self._store.provider.online_store.online_read(
                self._store.config,
                self._feast_view,
                self._keys.of_feast(entities, made),
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

    def _decoded(
        self, moment: datetime | None, stored: dict[str, Value] | None, at: int
    ) -> StoredRow:
        known = known_time(moment)
        if known is None or stored is None:
            return StoredRow(values=self._nothing, known=None, read=at)
        values = tuple([_value(stored.get(name), get) for name, get in self._fields])
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


def _value_fields(feast_view: FeatureView, names: Sequence[str]) -> list[tuple[str, _Get]]:
    """Return each feature with what gets its value out of Feast's protobuf, where that is plain."""
    kinds = {field.name: field.dtype.to_value_type() for field in feast_view.features}
    return [(name, _GET.get(kinds.get(name, ValueType.UNKNOWN), _nothing)) for name in names]


def _value(value: Value | None, get: _Get) -> Any:
    """Return a stored value as Python has it; None for a null.

    What is true and equal to itself is a value of the expected type, and no NaN: three times as fast
    as to ask which type it is. The rest, zero and the empty text included, is looked at properly.
    """
    if value is None:
        return None
    plain = get(value)
    return plain if plain and plain == plain else _decode(value)  # noqa: PLR0124 - NaN


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


def _nothing(value: Value) -> None:
    """Leave a value of a type that takes more than a look to `_decode`."""


_GET: Mapping[ValueType, _Get] = {
    ValueType.DOUBLE: attrgetter("double_val"),
    ValueType.FLOAT: attrgetter("float_val"),
    ValueType.INT64: attrgetter("int64_val"),
    ValueType.INT32: attrgetter("int32_val"),
    ValueType.STRING: attrgetter("string_val"),
    ValueType.BOOL: attrgetter("bool_val"),
}
_NO_TIME = -(2**63)
"""What Feast stores for a timestamp that is null."""
_NO_MOMENT = datetime.fromtimestamp(0, UTC)
