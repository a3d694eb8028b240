"""What differs between served and offline values is found, and its cause is named.

Each cause is planted for real: the log is written by the data plane that reads Feast's online store,
and then a source, a definition or the time is changed.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from integration.skewed import HOUR, MINUTE, MODEL, NOON, SCHEMAS, Shop, product, user
from trivet import logged
from trivet.errors import (
    BadSetting,
    FeaturesUnavailable,
    NothingLogged,
    RegistryUnavailable,
    UnknownModel,
)
from trivet.features.cache import RowCache
from trivet.live import Shelf
from trivet.observe.log import read_log
from trivet.observe.skew.causes import Cause
from trivet.observe.skew.find import Skew, find_skew
from trivet.registry.contracts import Contracts

# Feast calls on-demand views experimental whenever one is applied.
pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an exp:RuntimeWarning")

SECOND = timedelta(seconds=1)
SHORTER = ("ttl=timedelta(hours=2)", "ttl=timedelta(minutes=30)")
LONGER = ("ttl=timedelta(hours=2)", "ttl=timedelta(hours=20)")
OTHER_CODE = ("1.19 * amount", "1.07 * amount")
FAILING_CODE = ("1.19 * amount", "amount / (amount - 10.0)")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a shop that knows two users and two products since an hour, materialized at noon."""
    made = Shop(tmp_path / "shop")
    made.know("users", [user(f"u{n}", NOON - HOUR, income=1000.1 + n) for n in (1, 2)])
    made.know("products", [product(n, NOON - HOUR, weight=0.1 * n) for n in (1, 2)])
    made.materialize(NOON)
    return made


def ask(shop: Shop, at: Any = NOON, **instance: Any) -> None:
    """Have one prediction logged."""
    with shop.serving() as serving:
        serving.ask(at, instance)


def causes(found: Skew) -> dict[str, dict[str, int]]:
    """Return the differences by column and cause."""
    return {c.column: {str(k): v for k, v in c.causes.items()} for c in found.columns if c.causes}


def of(columns: str, cause: Cause, count: int = 1) -> dict[str, dict[str, int]]:
    """Return the same cause for several columns."""
    return {column: {str(cause): count} for column in columns.split()}


USERS, PRODUCTS = "income visits segment loyal", "weight ratio parts made_at"
READ = f"{USERS} {PRODUCTS}"


# --- without a difference -------------------------------------------------------------------------


def test_known_unknown_expired_and_null_values_replay_the_same(shop: Shop) -> None:
    """Fresh and old ones, in one request and in several, with what is computed from them."""
    shop.learn("users", user("u3", NOON - HOUR, income=None, segment=None, loyal=None))
    shop.materialize(NOON, again=True)
    with shop.serving() as serving:
        serving.ask(NOON, {}, {"user_id": "u2"}, {"user_id": "nobody"}, {"product_id": 2})
        serving.ask(NOON + MINUTE, {"user_id": "u3"}, {"product_id": 99})
        serving.ask(NOON + HOUR, {}, {"amount": 3.3})  # as old as the TTL: it still counts
        serving.ask(NOON + HOUR + SECOND, {}, {"user_id": "u2"})
    found = shop.skew()
    assert found.rows == 10
    assert [column.compared for column in found.columns] == [10] * 10
    assert causes(found) == {}
    assert (found.examples, found.drift, found.skewed) == ((), (), 0)


def test_ten_thousand_rows_replay_with_no_difference(tmp_path: Path) -> None:
    """Of 400 users and 50 products over six hours, materialized every quarter of an hour."""
    shop = Shop(tmp_path / "shop")
    random = np.random.default_rng(7)
    ticks = [NOON + n * 15 * MINUTE for n in range(-24, 25)]
    names = [f"u{n}" for n in range(400)]

    def known(at: Any, share: float) -> list[dict[str, Any]]:
        seen = [name for name in names if random.random() < share]
        return [
            user(
                name,
                at - timedelta(seconds=int(random.integers(0, 800))),
                income=float(random.normal(1000, 300)) if random.random() < 0.95 else None,
                visits=int(random.integers(0, 50)) if random.random() < 0.95 else None,
                segment=random.choice(["gold", "silver", None]),
                loyal=bool(random.random() < 0.5),
            )
            for name in seen
        ]

    shop.know("users", [row for at in ticks for row in known(at, 0.06)])
    shop.know(
        "products",
        [
            product(
                n, at - MINUTE, weight=float(random.random()), ratio=np.float32(random.random())
            )
            for at in ticks
            for n in range(50)
            if random.random() < 0.2
        ],
    )
    with shop.serving() as serving:
        for number, at in enumerate(ticks[24:]):
            shop.materialize(at, again=number == 0)
            for second in range(4):
                serving.ask(
                    at + second * SECOND,
                    *(
                        {
                            "user_id": f"u{random.integers(0, 420)}",
                            "product_id": int(random.integers(0, 55)),
                            "amount": float(random.normal(50, 20)),
                        }
                        for _ in range(100)
                    ),
                )
    found = shop.skew()
    assert found.rows == 10_000
    assert found.compared == 100_000
    assert causes(found) == {}, found.examples[:4]
    statuses = dict.fromkeys(range(1, 5), 0)
    for value in read_log(shop.settings, MODEL)["users__income__status"].to_pylist():
        statuses[value] += 1
    assert min(statuses.values()) > 50  # present, null, not found and outside the TTL


# --- each cause -----------------------------------------------------------------------------------


def test_an_override_is_no_skew(shop: Shop) -> None:
    """Nor is what is computed from it; one that says what the store says is no difference."""
    ask(shop, income=5.0, visits=3)
    found = shop.skew()
    assert causes(found) == of("income burden", Cause.OVERRIDE)
    assert found.skewed == 0
    (example,) = [one for one in found.examples if one.column == "income"]
    assert (example.served, example.offline, example.status) == (5.0, 1001.1, "present")


def test_an_override_of_a_computed_value_is_one_too(shop: Shop) -> None:
    """The log has it in the place of what was computed."""
    ask(shop, gross=1.0)
    assert causes(shop.skew()) == of("gross", Cause.OVERRIDE)


def test_a_default_in_the_place_of_a_value_is_skew(shop: Shop) -> None:
    """The online store had nothing, and the offline store has something."""
    shop.learn("users", user("new", NOON + MINUTE, segment="gold"))
    ask(shop, at=NOON + 2 * MINUTE, user_id="new")
    found = shop.skew()
    assert causes(found)["segment"] == {"default filled": 1}
    (example,) = [one for one in found.examples if one.column == "segment"]
    assert (example.served, example.offline, example.status) == ("none", "gold", "not_found")
    assert found.skewed == 1


def test_a_default_for_what_nobody_knows_is_none(shop: Shop) -> None:
    """A training set fills it with the same."""
    ask(shop, user_id="nobody")
    assert causes(shop.skew()) == {}


def test_an_expired_value_is_skew_where_there_was_a_living_one(shop: Shop) -> None:
    """Materialization has stood still for longer than the TTL."""
    shop.learn("users", user("u1", NOON + HOUR))
    ask(shop, at=NOON + 2 * HOUR)
    assert causes(shop.skew()) == {
        **of("income visits loyal burden", Cause.EXPIRED),
        **of("segment", Cause.DEFAULT),
    }


@pytest.mark.parametrize(
    ("edit", "at"), [(SHORTER, NOON), (LONGER, NOON + 3 * HOUR)], ids=["shorter", "longer"]
)
def test_another_ttl_makes_values_expire_on_one_side(
    shop: Shop, edit: tuple[str, str], at: Any
) -> None:
    """The service holds to its contract's; a retrieval goes by the registry's."""
    ask(shop, at=at)
    shop.apply(edit)
    found = shop.skew()
    expected = of("income visits segment loyal burden", Cause.EXPIRED)
    if edit == LONGER:
        expected["segment"] = {"default filled": 1}
    assert causes(found) == expected
    assert [(d.column, d.aspect) for d in found.drift] == [("users:*", "TTL")]


def test_a_value_that_is_known_but_not_yet_online_is_lag(shop: Shop) -> None:
    """Its event is later than the last materialization; it is no skew."""
    shop.learn("users", user("u1", NOON + MINUTE, income=7.0))
    ask(shop, at=NOON + 2 * MINUTE)
    found = shop.skew()
    assert causes(found) == of("income burden", Cause.LAG)
    assert found.skewed == 0
    (example,) = [one for one in found.examples if one.column == "income"]
    assert (example.served, example.offline) == (1001.1, 7.0)
    assert (example.served_event, example.offline_event) == (NOON - HOUR, NOON + MINUTE)


def test_a_new_entity_that_is_not_yet_online_is_lag(shop: Shop) -> None:
    """There was no older event to be served."""
    shop.learn("products", product(7, NOON + MINUTE))
    ask(shop, at=NOON + 2 * MINUTE, product_id=7)
    assert causes(shop.skew()) == of(PRODUCTS, Cause.LAG)


def test_a_value_that_came_after_its_materialization_is_late_data(shop: Shop) -> None:
    """The view had been materialized past its event, and it was not in the source by then."""
    shop.learn("users", user("u1", NOON - MINUTE, income=7.0))
    ask(shop, at=NOON + 2 * MINUTE)
    found = shop.skew()
    assert causes(found) == of("income burden", Cause.LATE)
    assert found.skewed == 2


def test_a_materialization_after_the_request_excuses_nothing(shop: Shop) -> None:
    """And one before it does not count that ended before the event."""
    shop.learn("users", user("u1", NOON + 4 * MINUTE, income=7.0))
    shop.learn("users", user("u2", NOON - MINUTE, income=7.0))
    with shop.serving() as serving:
        serving.ask(NOON + 5 * MINUTE, {}, {"user_id": "u2"})
    shop.materialize(NOON + 6 * MINUTE)
    assert causes(shop.skew())["income"] == {"late data": 1, "lag": 1}


def test_when_a_row_was_written_decides_between_late_and_lag(shop: Shop) -> None:
    """One that was there when the materialization ran is still on its way; the other was late."""
    shop.learn(
        "products",
        product(1, NOON - MINUTE, written_at=NOON - SECOND, parts=9),
        product(2, NOON - MINUTE, written_at=NOON + SECOND, parts=9),
    )
    with shop.serving() as serving:
        serving.ask(NOON + MINUTE, {}, {"product_id": 2})
    assert causes(shop.skew())["parts"] == {"late data": 1, "lag": 1}


def test_a_row_from_a_cache_is_no_skew(shop: Shop) -> None:
    """It was the newest when it was read; what was to come by then is another matter."""
    shop.learn(
        "users",
        user("u1", NOON + 5 * MINUTE, income=7.0),
        user("u2", NOON + 5 * MINUTE, income=7.0),
        user("u3", NOON + 5 * MINUTE, income=7.0),
    )
    with shop.serving() as serving:
        serving.ask(NOON + 6 * MINUTE, {}, {"user_id": "u2"}, {"user_id": "u3"})
    read_from_cache(shop, [NOON + 4 * MINUTE, None, NOON + 4 * MINUTE])
    found = shop.skew()
    assert causes(found)["income"] == {"cache": 2, "lag": 1}
    assert causes(found)["segment"] == {"default filled": 1}  # a row that was known not to be there


def test_a_service_says_itself_what_its_cache_gave(shop: Shop) -> None:
    """The newer event was online by the second request, and the row of the first was used again."""
    with shop.serving(cache=RowCache(seconds=600, most=100)) as serving:
        serving.ask(NOON + 4 * MINUTE, {})
        shop.learn("users", user("u1", NOON + 5 * MINUTE, income=7.0))
        shop.materialize(NOON + 5 * MINUTE + SECOND)
        serving.ask(NOON + 6 * MINUTE, {})
    found = shop.skew()
    assert causes(found)["income"] == {"cache": 1}
    assert found.skewed == 0


def test_late_data_is_found_behind_a_cache(shop: Shop) -> None:
    """What counts is what the materialization had missed when the row was read."""
    shop.learn(
        "users",
        user("u1", NOON - MINUTE, income=7.0),
        user("u1", NOON + 5 * MINUTE, income=8.0),
    )
    ask(shop, at=NOON + 6 * MINUTE)
    read_from_cache(shop, [NOON + 4 * MINUTE])
    assert causes(shop.skew())["income"] == {"late data": 1}


def read_from_cache(shop: Shop, moments: list[Any]) -> None:
    """Write into the log when the users' rows were read, as a service with a cache does."""
    (path,) = logged.log_folder(shop.settings.home, MODEL).glob("*.parquet")
    table = pq.read_table(path)
    read = pa.array(moments, logged.MOMENT)
    name = logged.read_time_name("users")
    pq.write_table(table.set_column(table.column_names.index(name), name, read), path)


def test_a_rewritten_source_is_changed_since(shop: Shop) -> None:
    """The event that was served has another value now, or is not there any more."""
    with shop.serving() as serving:
        serving.ask(NOON, {}, {"user_id": "u2"})
    shop.know("users", [user("u1", NOON - HOUR, income=9.0)])
    assert causes(shop.skew()) == {
        **of("visits loyal", Cause.CHANGED),
        "income": {"changed since": 2},
        "burden": {"changed since": 2},
        "segment": {"changed since": 1},
    }


def test_a_change_is_not_hidden_by_lag(shop: Shop) -> None:
    """Lag excuses only what the source had when it was served."""
    ask(shop, at=NOON + 2 * MINUTE)
    rows = [user("u1", NOON - HOUR, income=9.0), user("u1", NOON + MINUTE, income=8.0)]
    shop.know("users", rows)
    assert causes(shop.skew())["income"] == {"changed since": 1}


def test_a_value_that_was_only_pushed_is_changed_since(shop: Shop) -> None:
    """The offline store never had it."""
    view = shop.open().get_feature_view("users")
    assert view is not None
    frame = pa.Table.from_pylist([user("u1", NOON + MINUTE, income=7.0)], SCHEMAS["users"])
    shop.open().write_to_online_store("users", frame.to_pandas())
    ask(shop, at=NOON + 2 * MINUTE)
    assert causes(shop.skew())["income"] == {"changed since": 1}


def test_a_source_of_another_type_is_a_difference_of_dtype(shop: Shop) -> None:
    """Though a training set would quietly take the text for the number that it spells."""
    ask(shop)
    shop.rewrite("users", "visits", pa.array(["3", "3"]))
    found = shop.skew()
    assert causes(found) == of("visits", Cause.DTYPE)
    assert found.examples[0].offline == "3"


def test_a_declared_type_that_is_another_is_a_difference_of_dtype(shop: Shop) -> None:
    """What is retrieved is then of that type, whatever the source holds."""
    ask(shop)
    shop.apply(('"visits", dtype=Int64', '"visits", dtype=String'))
    found = shop.skew()
    assert causes(found) == of("visits", Cause.DTYPE)
    assert ("users:visits", "dtype") in [(d.column, d.aspect) for d in found.drift]


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("ratio", [0.3, 0.3], pa.float64()),  # single precision is served
        ("weight", [0.1, 0.2], pa.float32()),
        ("parts", [4.5, 4.5], pa.float64()),  # whole numbers are served
        ("made_at", [NOON - 24 * HOUR + SECOND / 2] * 2, pa.timestamp("us", "UTC")),
    ],
)
def test_a_value_that_is_the_same_but_for_its_type_is_one_of_dtype(
    shop: Shop, column: str, values: list[Any], kind: pa.DataType
) -> None:
    """A Float32, Int32 or UnixTimestamp of Feast holds less than a source may."""
    ask(shop)
    shop.rewrite("products", column, pa.array(values, kind))
    assert causes(shop.skew()) == of(column, Cause.DTYPE)


def test_narrow_types_of_feast_lose_something_on_the_way_online(shop: Shop) -> None:
    """Nothing has changed here: training sees the source, and the service what Feast stored."""
    for column in ("ratio", "parts"):
        values = pq.read_table(shop.source("products"))[column].to_pylist()
        shop.rewrite("products", column, pa.array([v + 0.01 for v in values], pa.float64()))
    shop.materialize(NOON, again=True)
    ask(shop)
    assert causes(shop.skew()) == of("ratio parts", Cause.DTYPE)


def test_a_wider_number_with_the_same_value_is_no_difference(shop: Shop) -> None:
    """What pandas makes of whole numbers beside a null, for one."""
    ask(shop)
    shop.rewrite("users", "visits", pa.array([3.0, 3.0]))
    assert causes(shop.skew()) == {}


@pytest.mark.parametrize("edit", [OTHER_CODE, FAILING_CODE], ids=["other", "failing"])
def test_other_on_demand_code_is_named(shop: Shop, edit: tuple[str, str]) -> None:
    """Its inputs agree, and the registry's code makes something else of them."""
    ask(shop)
    shop.apply(edit)
    found = shop.skew()
    expected = of("gross" if edit == OTHER_CODE else "gross burden", Cause.CODE)
    assert causes(found) == expected
    assert [(d.column, d.aspect) for d in found.drift] == [("sums:*", "on-demand code")]


def test_an_on_demand_view_that_is_gone_is_named(shop: Shop) -> None:
    """There is no code any more that would say the same."""
    ask(shop)
    shop.apply(("        sums,\n", ""))
    shop.open().delete_feature_view("sums")
    assert causes(shop.skew()) == of("gross burden", Cause.CODE)


def test_code_that_fails_on_some_rows_does_not_spoil_the_others(shop: Shop) -> None:
    """Only these have no offline value."""
    with shop.serving() as serving:
        serving.ask(NOON, *({"amount": float(n)} for n in range(20)))
    shop.apply(("1.19 * amount", "1.19 * amount + 0 / (amount - 7)"))
    assert causes(shop.skew()) == of("gross burden", Cause.CODE)


# --- which rows -----------------------------------------------------------------------------------


def test_rows_of_several_versions_are_replayed_by_their_own_contracts(shop: Shop) -> None:
    """Here a column has become text with the second one."""
    ask(shop)
    shop.apply(('"visits", dtype=Int64', '"visits", dtype=String'))
    shop.rewrite("users", "visits", pa.array(["3", "3"]))
    shop.materialize(NOON, again=True)
    with shop.serving(2) as serving:
        serving.ask(NOON, {})
    found = shop.skew()
    assert found.versions == {1: 1, 2: 1}
    assert causes(found) == of("visits", Cause.DTYPE)
    assert found.examples[0].version == 1
    assert causes(shop.skew(version=2)) == {}


def test_only_the_newest_rows_of_a_time_are_replayed(shop: Shop) -> None:
    """So many of them."""
    with shop.serving() as serving:
        for minute in range(5):
            serving.ask(NOON + minute * MINUTE, {})
    found = shop.skew(since=NOON + MINUTE, until=NOON + 4 * MINUTE, limit=2)
    assert (found.rows, found.first, found.last) == (2, NOON + 2 * MINUTE, NOON + 3 * MINUTE)


def test_without_rows_it_says_so(shop: Shop) -> None:
    """Instead of saying that all is well."""
    with pytest.raises(NothingLogged, match="No logged prediction of shop fits"):
        shop.skew()


def test_rows_whose_contract_is_gone_are_left_out_and_counted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cannot be judged; if there are no others, nothing was found out."""
    ask(shop)
    with shop.serving(2, shop.contract().model_copy(update={"lead_seconds": 1.0})) as serving:
        serving.ask(NOON, {})
    forget(shop)
    with pytest.raises(RegistryUnavailable, match=r"mlflow\.db"):
        shop.skew()
    monkeypatch.setattr(Contracts, "_registered", gone)
    found = shop.skew()
    assert (found.rows, dict(found.left_out)) == (1, {"shop has no version 1; versions: 2.": 1})
    with pytest.raises(NothingLogged, match="can be replayed: shop has no version 1"):
        shop.skew(version=1)


def forget(shop: Shop) -> None:
    """Take the copy of the first version's contract off this host."""
    shelf = Shelf(shop.settings.home, MODEL)
    shelf.path(shop.contract().digest).rename(shelf.folder / "away")


def gone(contracts: Contracts, version: int, digest: str) -> None:
    """Say what MLflow says of a version that was deleted."""
    raise UnknownModel(f"shop has no version {version}; versions: 2.")


def test_a_source_that_is_gone_is_an_error(shop: Shop) -> None:
    """Not a difference."""
    ask(shop)
    shop.source("users").unlink()
    with pytest.raises(FeaturesUnavailable, match="users_source cannot be read"):
        shop.skew()


def test_a_store_that_does_not_say_when_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without event times neither lag nor a change could be told."""
    ask(shop)
    monkeypatch.setattr("trivet.features.past.parquet_source", lambda store, view: None)
    with pytest.raises(BadSetting, match="users is no Parquet file of this machine"):
        shop.skew()


def test_who_watches_is_told_of_each_view(shop: Shop) -> None:
    """For a progress bar."""
    ask(shop)
    told: list[Any] = []

    class Watcher:
        def begins(self, view: str, rows: int) -> None:
            told.append((view, rows))

        def asked(self, rows: int) -> None:
            told.append(rows)

    find_skew(shop.settings, MODEL, watcher=Watcher())
    assert told == [("users", 1), 1, ("products", 1), 1]
