"""A value older than its view's TTL is absent online, as it is in training."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from feast import Field
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.contract import Column, Contract, JoinKey, View
from trivet.errors import FeaturesUnavailable
from trivet.features.reader import OnlineReader
from unit.fakes import AGE, INCOME, NOON, SEGMENT, USERS, shop

FRESH = NOON - timedelta(minutes=1)
FULL = {
    "income": Value(int64_val=1000),
    "age": Value(double_val=30.5),
    "segment": Value(string_val="gold"),
}
Row = tuple[datetime | None, dict[str, Value] | None]


@dataclass
class FakeView:
    """A Feast feature view, with the types of all keys that there are."""

    name: str
    entity_columns: tuple[Field, ...] = (
        Field(name="user_id", dtype=String),
        Field(name="shop_id", dtype=Int64),
    )
    features: tuple[Field, ...] = (
        Field(name="income", dtype=Int64),
        Field(name="age", dtype=Float64),
        Field(name="segment", dtype=String),
        Field(name="count", dtype=Int64),
    )


@dataclass
class FakeStore:
    """A Feast store of one project, with the rows of its views in memory."""

    rows: dict[str, dict[tuple[Any, ...], Row]]
    """By view and entity."""
    error: Exception | None = None
    seconds: float = 0.0
    """What a read takes."""
    project: str = "shop"
    config: object = None
    reads: list[tuple[str, list[EntityKey]]] = field(default_factory=list)

    @property
    def provider(self) -> FakeStore:
        """Stand for the provider, as for the online store in it."""
        return self

    @property
    def online_store(self) -> FakeStore:
        """Stand for the online store."""
        return self

    def get_feature_view(self, name: str) -> FakeView:
        """Return a view."""
        if name not in self.rows:
            raise KeyError(name)
        return FakeView(name)

    def online_read(
        self, config: object, view: FakeView, keys: list[EntityKey], names: list[str]
    ) -> list[Row]:
        """Return the keys' rows, and treat the list of names as the Redis store does."""
        self.reads.append((view.name, keys))
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        names.clear()
        return [self.rows[view.name].get(entity(key), (None, None)) for key in keys]


def entity(key: EntityKey) -> tuple[Any, ...]:
    """Return an entity's values as Python has them."""
    return tuple(getattr(value, str(value.WhichOneof("val"))) for value in key.entity_values)


def store_of(moment: datetime | None, values: dict[str, Value] | None = FULL) -> FakeStore:
    """Return a store that knows u001, with what was written at a moment."""
    return FakeStore({"users": {("u001",): (moment, values)}})


def read_one(store: FakeStore, contract: Contract | None = None) -> tuple[dict[str, Any], Any]:
    """Read u001 at noon; return its values, and why each absent one is absent."""
    found = OnlineReader(store, contract or shop()).read({"user_id": ["u001"]}, NOON)
    return (
        {name: column[0] for name, column in found.values.items()},
        {value.column.name: (value.why, value.age_seconds) for value in found.absent},
    )


def with_ttl(seconds: float | None) -> Contract:
    """Return the shop's contract with another TTL."""
    return shop(views=(USERS.model_copy(update={"ttl_seconds": seconds}),))


def test_fresh_values_are_given_as_python_has_them() -> None:
    """And nothing is absent."""
    values, absent = read_one(store_of(FRESH))
    assert values == {"income": 1000, "age": 30.5, "segment": "gold"}
    assert absent == {}


def test_a_value_as_old_as_its_ttl_still_counts() -> None:
    """One microsecond later it has expired."""
    edge = NOON - timedelta(seconds=3600)
    assert read_one(store_of(edge))[1] == {}
    values, absent = read_one(store_of(edge - timedelta(microseconds=1)))
    assert values == {"income": None, "age": None, "segment": None}
    assert {why for why, _ in absent.values()} == {"expired"}


@settings(max_examples=40, deadline=None)
@given(
    age=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000)),
    ttl=st.none() | st.integers(1, 10**8),
)
def test_a_value_is_given_exactly_while_it_is_no_older_than_its_ttl(
    age: timedelta, ttl: int | None
) -> None:
    """Feast's offline rule, for any age and any TTL; without one, values stay."""
    values, absent = read_one(store_of(NOON - age), with_ttl(ttl))
    if ttl is None or age.total_seconds() <= ttl:
        assert (values["income"], absent) == (1000, {})
    else:
        assert absent["income"] == ("expired", age.total_seconds())


def test_a_value_of_the_future_is_given() -> None:
    """Clocks of two hosts are never quite the same."""
    values, absent = read_one(store_of(NOON + timedelta(seconds=2)))
    assert (values["income"], absent) == (1000, {})


def test_a_moment_without_a_zone_is_in_utc() -> None:
    """SQLite's are."""
    assert read_one(store_of(FRESH.replace(tzinfo=None)))[1] == {}


@pytest.mark.parametrize(
    "store",
    [store_of(None, None), store_of(datetime.fromtimestamp(0, UTC), {}), FakeStore({"users": {}})],
    ids=["no row", "the epoch", "unknown"],
)
def test_an_unknown_entity_is_missing(store: FakeStore) -> None:
    """Redis says so by the epoch, the others by no row."""
    values, absent = read_one(store)
    assert set(values.values()) == {None}
    assert set(absent.values()) == {("missing", None)}


@pytest.mark.parametrize(
    "value",
    [
        Value(),
        Value(null_val=0),
        Value(double_val=float("nan")),
        Value(unix_timestamp_val=-(2**63)),
        None,
    ],
)
def test_a_stored_null_is_null_with_its_age(value: Value | None) -> None:
    """In whatever way the store came to write it; the columns beside it are given."""
    row = {name: kept for name, kept in {**FULL, "age": value}.items() if kept is not None}
    values, absent = read_one(store_of(FRESH, row))
    assert values == {"income": 1000, "age": None, "segment": "gold"}
    assert absent == {"age": ("null", 60.0)}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Value(int32_val=3), 3),
        (Value(float_val=0.5), 0.5),
        (Value(bool_val=False), False),
        (Value(string_val=""), ""),
        (Value(unix_timestamp_val=int(NOON.timestamp())), NOON),
    ],
)
def test_each_of_feasts_types_is_decoded(value: Value, expected: Any) -> None:
    """What is false or empty is a value as well."""
    values, absent = read_one(store_of(FRESH, {**FULL, "age": value}))
    assert (values["age"], absent) == (expected, {})


def test_rows_of_one_entity_share_one_read() -> None:
    """A thousand departures are of three airports."""
    store = store_of(FRESH)
    keys = {"user_id": ["u001", "u002", "u001", "u002", "u001"]}
    found = OnlineReader(store, shop()).read(keys, NOON)
    ((_, asked),) = store.reads
    assert [entity(key) for key in asked] == [("u001",), ("u002",)]
    assert found.values["income"] == [1000, None, 1000, None, 1000]
    assert sorted({value.row for value in found.absent}) == [1, 3]


def test_each_view_is_read_once_by_its_own_keys() -> None:
    """A key of two fields is one entity, and a feature may be renamed."""
    key_of = {"user_id": "string", "shop_id": "int64"}
    visits = View(name="visits", join_keys=("shop_id", "user_id"))
    contract = shop(
        join_keys=tuple(JoinKey(name=name, dtype=dtype) for name, dtype in key_of.items()),
        views=(USERS, visits),
        columns=(INCOME, Column(name="seen", source="visits:count", dtype="int64")),
    )
    store = store_of(FRESH)
    store.rows["visits"] = {(7, "u001"): (FRESH, {"count": Value(int64_val=5)})}
    keys = {"user_id": ["u001", "u001"], "shop_id": [7, 8]}
    found = OnlineReader(store, contract).read(keys, NOON)
    assert found.values == {"income": [1000, 1000], "seen": [5, None]}
    assert [(view, len(asked)) for view, asked in store.reads] == [("users", 1), ("visits", 2)]


def test_a_second_read_asks_for_the_same_features() -> None:
    """Though a store may empty the list that it is given."""
    reader = OnlineReader(store_of(FRESH), shop())
    assert reader.read({"user_id": ["u001"]}, NOON) == reader.read({"user_id": ["u001"]}, NOON)


def test_a_store_that_fails_makes_features_unavailable() -> None:
    """With the view, the cause, and what to do."""
    store = store_of(FRESH)
    store.error = OSError("no such table")
    with pytest.raises(FeaturesUnavailable, match="for users: OSError: no such table") as caught:
        OnlineReader(store, shop()).read({"user_id": ["u001"]}, NOON)
    assert "trivet materialize" in str(caught.value)


def test_a_view_that_the_registry_lacks_is_named() -> None:
    """When the version is loaded, and not at the first request."""
    with pytest.raises(FeaturesUnavailable, match="project shop has no feature view users"):
        OnlineReader(FakeStore({}), shop())


def test_a_key_by_which_feast_finds_nothing_is_named() -> None:
    """When the version is loaded; it would be missing at every request."""
    visits = View(name="visits", join_keys=("price",))
    keys = (JoinKey(name="user_id", dtype="string"), JoinKey(name="price", dtype="float64"))
    contract = shop(views=(USERS, visits), join_keys=keys)
    with pytest.raises(FeaturesUnavailable, match="Feast finds no rows of visits by price"):
        OnlineReader(FakeStore({"visits": {}, "users": {}}), contract)


def test_after_its_limit_a_read_asks_for_nothing_more() -> None:
    """Nobody waits for the other views any more, and other requests do."""
    orders = View(name="orders", join_keys=("user_id",))
    store = store_of(FRESH)
    store.rows["orders"], store.seconds = {}, 0.02
    reader = OnlineReader(store, shop(views=(USERS, orders)), limit=0.01)
    with pytest.raises(FeaturesUnavailable, match=r"did not answer within 0\.01 s"):
        reader.read({"user_id": ["u001"]}, NOON)
    assert [view for view, _ in store.reads] == ["users"]


def test_columns_keep_their_policy() -> None:
    """The reader says what is absent; what becomes of it is decided later."""
    found = OnlineReader(store_of(None, None), shop()).read({"user_id": ["u001"]}, NOON)
    assert [value.column for value in found.absent] == [INCOME, AGE, SEGMENT]
