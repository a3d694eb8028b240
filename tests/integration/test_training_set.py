"""A training set has, value by value, what Feast's own retrieval on the same DuckDB store has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Bool, Float64, Int64, String, UnixTimestamp
from hypothesis import HealthCheck, given, settings, strategies
from sklearn.linear_model import LogisticRegression

import trivet
from trivet.contract import Absent, Classification, Column, Default
from trivet.errors import BadSetting, FeaturesUnavailable, UnknownModel, VersionCorrupt
from trivet.features import asof
from trivet.features.store import open_store
from trivet.registry.client import connect
from trivet.settings import Settings
from trivet.training import sets

# Feast calls on-demand views experimental whenever one is applied.
pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an exp:RuntimeWarning")

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOURLY_TTL, ROUTE_TTL = timedelta(hours=1), timedelta(days=2)
UNIT = timedelta(minutes=1)
FEATURES = ["sales", "visitors", "mood", "open", "trips", "name", "seen_at"]

YAML = """
project: shop
provider: local
registry: {root}/registry.db
online_store: {{type: sqlite, path: {root}/online.db}}
offline_store: {{type: duckdb}}
entity_key_serialization_version: 3
"""

STAMP = pa.timestamp("us", "UTC")
HOURLY = pa.schema(
    {
        "shop": pa.string(),
        "at": STAMP,
        "written_at": STAMP,
        "sales": pa.float64(),
        "visitors": pa.int64(),
        "mood": pa.string(),
        "open": pa.bool_(),
    }
)
ROUTES = pa.schema(
    {"shop": pa.string(), "customer": pa.int64(), "event_timestamp": STAMP, "trips": pa.int64()}
)
PROFILES = pa.schema(
    {"customer": pa.int64(), "event_timestamp": STAMP, "nm": pa.string(), "seen_at": STAMP}
)
TICKS = pa.schema({"shop": pa.string(), "at": STAMP, "written_at": STAMP, "known": STAMP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project with its own Feast repository, whose sources a test writes."""

    settings: Settings

    def write(self, name: str, schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> None:
        """Put rows into a source, in this order."""
        pq.write_table(pa.Table.from_pylist(list(rows), schema), self.source(name))

    def source(self, name: str) -> Path:
        """Return the file of a source."""
        return self.settings.root / f"{name}.parquet"

    def ours(self, entities: pd.DataFrame, service: str = "all_v1", **options) -> pd.DataFrame:
        """Return the joined rows as a training set has them."""
        made = trivet.training_set(self.settings, entities, service, progress=False, **options)
        return made.frame

    def feasts(self, entities: pd.DataFrame, service: str = "all_v1") -> pd.DataFrame:
        """Return what Feast retrieves, in the order of the entity rows."""
        store = open_store(self.settings)
        numbered = entities.assign(number=np.arange(len(entities)))
        job = store.get_historical_features(numbered, store.get_feature_service(service))
        return job.to_df().sort_values("number", ignore_index=True).drop(columns="number")

    def check(self, entities: pd.DataFrame) -> pd.DataFrame:
        """Compare both, value by value, and return the rows."""
        ours, feasts = self.ours(entities), self.feasts(entities)
        for name in FEATURES:
            assert plain(ours[name]) == plain(feasts[name]), name
        own = list(entities.columns)
        pd.testing.assert_frame_equal(ours[own], entities.reset_index(drop=True))
        return ours


def plain(values: pd.Series) -> list[Any]:
    """Return values as Python has them, None for every kind of null."""
    return [None if pd.isna(value) else value for value in values.astype(object)]


def asked(*rows: tuple[str | None, int | None, datetime | None]) -> pd.DataFrame:
    """Return an entity frame of shop, customer and moment."""
    shops, customers, moments = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "shop": pd.Series(shops, dtype=object),
            "customer": pd.array(customers, dtype="Int64"),
            "event_timestamp": pd.to_datetime(pd.Series(moments), utc=True),
            "label": np.arange(len(rows)),
        }
    )


def hourly(shop: str | None, at: datetime, sales: float | None = 1.0, **other) -> dict[str, Any]:
    """Return a row of the hourly source."""
    values = {"visitors": 7, "mood": "fine", "open": True, "written_at": at}
    return {"shop": shop, "at": at, "sales": sales, **values, **other}


def define(root: Path) -> list[Any]:
    """Return the definitions: views with and without TTL, one and two keys, mapped names, a push."""
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)
    by_hour = FeatureView(
        name="by_hour",
        entities=[shop],
        ttl=HOURLY_TTL,
        schema=[
            Field(name="shop", dtype=String),
            Field(name="sales", dtype=Float64),
            Field(name="visitors", dtype=Int64),
            Field(name="mood", dtype=String),
            Field(name="open", dtype=Bool),
        ],
        source=FileSource(
            name="hourly",
            path=str(root / "hourly.parquet"),
            timestamp_field="at",
            created_timestamp_column="written_at",
        ),
    )
    route = FeatureView(
        name="route",
        entities=[shop, customer],
        ttl=ROUTE_TTL,
        schema=[
            Field(name="shop", dtype=String),
            Field(name="customer", dtype=Int64),
            Field(name="trips", dtype=Int64),
        ],
        source=FileSource(
            name="routes", path=str(root / "routes.parquet"), timestamp_field="event_timestamp"
        ),
    )
    profile = FeatureView(
        name="profile",
        entities=[customer],
        ttl=timedelta(0),
        schema=[
            Field(name="customer", dtype=Int64),
            Field(name="name", dtype=String),
            Field(name="seen_at", dtype=UnixTimestamp),
        ],
        source=PushSource(
            name="profile_push",
            batch_source=FileSource(
                name="profiles",
                path=str(root / "profiles.parquet"),
                timestamp_field="event_timestamp",
                field_mapping={"nm": "name"},
            ),
        ),
    )
    ticks = [tick_view(root, shop, units) for units in (0, 1, 3)]
    turnover = turnover_view(by_hour)
    return [
        shop,
        customer,
        by_hour,
        route,
        profile,
        *ticks,
        turnover,
        FeatureService(name="computed_v1", features=[by_hour[["visitors"]], turnover]),
        FeatureService(name="all_v1", features=[by_hour, route, profile]),
        FeatureService(name="ticks_v1", features=ticks),
    ]


def tick_view(root: Path, shop: Entity, units: int) -> FeatureView:
    """Return a view whose one feature is the moment at which it was known."""
    return FeatureView(
        name=f"ticks_{units}",
        entities=[shop],
        ttl=UNIT * units,
        schema=[
            Field(name="shop", dtype=String),
            Field(name=f"known_{units}", dtype=UnixTimestamp),
        ],
        source=FileSource(
            name=f"ticks_{units}",
            path=str(root / "ticks.parquet"),
            timestamp_field="at",
            created_timestamp_column="written_at",
            field_mapping={"known": f"known_{units}"},
        ),
    )


def turnover_view(by_hour: FeatureView) -> OnDemandFeatureView:
    """Return an on-demand view of a field of the request and a feature that nobody selects."""

    def turnover(inputs: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(inputs["price"], inputs["sales"], strict=True)
        return {"turnover": [-1.0 if sales is None else price * sales for price, sales in pairs]}

    price = RequestSource(name="prices", schema=[Field(name="price", dtype=Float64)])
    return on_demand_feature_view(
        sources=[price, by_hour[["sales"]]],
        schema=[Field(name="turnover", dtype=Float64)],
        mode="python",
    )(turnover)


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose definitions are applied, with empty sources."""
    root = tmp_path_factory.mktemp("shop")
    (root / "feature_repo").mkdir()
    (root / "feature_repo" / "feature_store.yaml").write_text(YAML.format(root=root))
    project = Project(
        settings=Settings(root=root, home=root / ".trivet", feature_repo=root / "feature_repo")
    )
    empty(project)
    open_store(project.settings).apply(define(root))
    return project


@pytest.fixture
def project(applied: Project) -> Iterator[Project]:
    """Return the project, with sources that are empty again afterwards."""
    yield applied
    empty(applied)


def empty(project: Project) -> None:
    """Take all rows out of the sources."""
    schemas = {"hourly": HOURLY, "routes": ROUTES, "profiles": PROFILES, "ticks": TICKS}
    for name, schema in schemas.items():
        project.write(name, schema, [])


def test_a_value_counts_from_its_moment_to_its_ttl_both_included(project: Project) -> None:
    """A microsecond before and a microsecond after, it is absent."""
    project.write("hourly", HOURLY, [hourly("a", NOON)])
    edges = [-MICROSECOND, timedelta(0), HOURLY_TTL, HOURLY_TTL + MICROSECOND]
    rows = project.check(asked(*(("a", 1, NOON + edge) for edge in edges)))
    assert plain(rows["sales"]) == [None, 1.0, 1.0, None]


def test_an_expired_value_does_not_bring_back_an_older_one(project: Project) -> None:
    """Nor does a null: the newest row counts, whatever it holds."""
    older, newer = NOON - HOURLY_TTL, NOON
    project.write("hourly", HOURLY, [hourly("a", older, 1.0), hourly("a", newer, None)])
    rows = project.check(asked(("a", 1, NOON), ("a", 1, NOON + HOURLY_TTL + MICROSECOND)))
    assert plain(rows["sales"]) == [None, None]
    assert plain(rows["visitors"]) == [7, None]


def test_a_view_without_ttl_never_expires(project: Project) -> None:
    """A zero TTL is Feast's word for that; its source here is a push source's, with mapped names."""
    known = NOON - timedelta(days=3650)
    row = {"customer": 5, "event_timestamp": known, "nm": "Ann", "seen_at": known}
    project.write("profiles", PROFILES, [row])
    rows = project.check(asked(("a", 5, NOON), ("a", 6, NOON), ("a", 5, known - MICROSECOND)))
    assert plain(rows["name"]) == ["Ann", None, None]
    assert plain(rows["seen_at"]) == [known, None, None]


def test_two_join_keys_must_both_be_the_same(project: Project) -> None:
    """A row of another customer in the same shop is of another entity."""
    keys = [("a", 1), ("a", 2), ("b", 1)]
    rows = [
        {"shop": shop, "customer": customer, "event_timestamp": NOON, "trips": number}
        for number, (shop, customer) in enumerate(keys)
    ]
    project.write("routes", ROUTES, rows)
    joined = project.check(asked(*((*key, NOON) for key in [("b", 2), *reversed(keys)])))
    assert plain(joined["trips"]) == [None, 2, 1, 0]


def test_rows_with_a_null_key_or_moment_are_kept_with_nulls(project: Project) -> None:
    """A null key matches nothing, not even a null key in the source."""
    project.write("hourly", HOURLY, [hourly(None, NOON), hourly("a", NOON)])
    rows = project.check(asked((None, 1, NOON), ("a", None, NOON), ("a", 1, None), ("x", 1, NOON)))
    assert plain(rows["sales"]) == [None, 1.0, None, None]


def test_equal_rows_of_an_unsorted_frame_stay_as_many_and_in_their_order(project: Project) -> None:
    """And the frame's own columns go through, whatever the index."""
    project.write("hourly", HOURLY, [hourly("a", NOON + n * UNIT, float(n)) for n in range(3)])
    entities = asked(*(("a", 1, NOON + n * UNIT) for n in (2, 0, 2, 1, 0, 2)))
    rows = project.check(entities.set_index(entities.index[::-1] * 10))
    assert plain(rows["sales"]) == [2.0, 0.0, 2.0, 1.0, 0.0, 2.0]


def test_of_two_rows_of_one_moment_the_later_written_one_counts(project: Project) -> None:
    """By the created timestamp; a null in it is the oldest."""
    hour = timedelta(hours=1)
    rows = [
        hourly("a", NOON, 1.0, written_at=NOON + hour),
        hourly("a", NOON, 2.0, written_at=NOON + 2 * hour),
        hourly("a", NOON, 3.0, written_at=NOON),
        hourly("b", NOON, 1.0, written_at=None),
        hourly("b", NOON, 2.0, written_at=NOON),
    ]
    project.write("hourly", HOURLY, rows)
    joined = project.check(asked(("a", 1, NOON), ("b", 1, NOON)))
    assert plain(joined["sales"]) == [2.0, 2.0]


def test_where_nothing_else_decides_the_first_row_of_the_file_counts(project: Project) -> None:
    """Feast takes any; its push puts new rows first, so this is the last correction."""
    row = {"shop": "a", "customer": 1, "event_timestamp": NOON}
    project.write("routes", ROUTES, [{**row, "trips": n} for n in (4, 9, 1)])
    assert plain(project.ours(asked(("a", 1, NOON)))["trips"]) == [4]


def test_thousands_of_rows_have_what_feast_has(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several chunks; with more than 64 rows a side DuckDB joins by another algorithm."""
    random = np.random.default_rng(0)
    shops = [f"s{n}" for n in range(5)]
    moments = [NOON + timedelta(minutes=int(m)) for m in random.integers(0, 5000, 3000)]
    project.write(
        "hourly",
        HOURLY,
        [
            hourly(shop, at, float(n), written_at=NOON + n * MICROSECOND, visitors=n)
            for n, (shop, at) in enumerate(zip(random.choice(shops, 3000), moments, strict=True))
        ],
    )
    keys = {(shop, customer) for shop in shops for customer in range(4)}
    project.write(
        "routes",
        ROUTES,
        [
            {"shop": shop, "customer": customer, "event_timestamp": NOON + d * UNIT, "trips": d}
            for shop, customer in sorted(keys)
            for d in random.choice(5000, 20, replace=False).tolist()
        ],
    )
    chosen = random.integers(-100, 9000, 2000)
    entities = asked(
        *(
            (str(shop), int(customer), NOON + timedelta(minutes=int(minute)))
            for shop, customer, minute in zip(
                random.choice([*shops, "unknown"], 2000),
                random.integers(0, 5, 2000),
                chosen,
                strict=True,
            )
        )
    )
    monkeypatch.setattr(sets, "CHUNK", 700)
    rows = project.check(entities)
    assert 0.1 < rows["sales"].notna().mean() < 0.9
    assert 0.1 < rows["trips"].notna().mean() < 0.9


moments_ = strategies.integers(0, 6)
shops_ = strategies.sampled_from(["a", "b", None])
tick_rows = strategies.lists(strategies.tuples(shops_, moments_), max_size=12)
tick_questions = strategies.lists(
    strategies.tuples(
        strategies.sampled_from(["a", "b", "unknown", None]),
        strategies.one_of(moments_, strategies.none()),
        strategies.sampled_from([-MICROSECOND, timedelta(0), MICROSECOND]),
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=tick_rows, questions=tick_questions)
def test_no_row_ever_sees_a_value_from_its_future(
    project: Project,
    rows: list[tuple[str | None, int]],
    questions: list[tuple[str | None, int | None, timedelta]],
) -> None:
    """For any moments, TTLs, nulls and missing entities: the newest that was known and not too old."""
    ticks = [
        {"shop": s, "at": NOON + u * UNIT, "written_at": NOON + n * UNIT, "known": NOON + u * UNIT}
        for n, (s, u) in enumerate(rows)
    ]
    project.write("ticks", TICKS, ticks)
    entities = asked(
        *((shop, 1, None if u is None else NOON + u * UNIT + d) for shop, u, d in questions)
    )
    ours = project.ours(entities, "ticks_v1")
    feasts = project.feasts(entities, "ticks_v1")
    for units in (0, 1, 3):
        name = f"known_{units}"
        found = plain(ours[name])
        assert found == plain(feasts[name])
        for shop, at, known in zip(
            entities["shop"], entities["event_timestamp"], found, strict=True
        ):
            assert known == expected(rows, shop, at, UNIT * units)
            assert known is None or known <= at


def expected(
    rows: list[tuple[str | None, int]], shop: str | None, at: pd.Timestamp, ttl: timedelta
) -> datetime | None:
    """Return the moment of the value that counts, by the rule as it is written down."""
    if pd.isna(at) or shop is None:
        return None
    known = [NOON + units * UNIT for of, units in rows if of == shop]
    past = [moment for moment in known if moment <= at and (not ttl or at - moment <= ttl)]
    return max(past, default=None)


def test_what_is_computed_on_demand_is_what_feast_computes(project: Project) -> None:
    """From a field of the request, which the entity frame has, and a feature."""
    project.write("hourly", HOURLY, [hourly("a", NOON + n * UNIT, float(n)) for n in range(9)])
    entities = asked(*(("a", 1, NOON + n * UNIT) for n in (4, 0, 7))).assign(price=2.5)
    ours = project.ours(entities, "computed_v1")
    feasts = project.feasts(entities, "computed_v1")
    assert list(ours) == [*entities, "visitors", "turnover"]
    assert plain(ours["turnover"]) == plain(feasts["turnover"]) == [10.0, 0.0, 17.5]
    with pytest.raises(BadSetting, match="no column price"):
        project.ours(entities.drop(columns="price"), "computed_v1")


@pytest.mark.parametrize(
    ("policy", "expected"), [("reject", None), ("null", -1.0), (Default(default=3.0), 7.5)]
)
def test_an_absent_input_reaches_the_code_as_its_policy_says(
    project: Project, policy: Absent, expected: float | None
) -> None:
    """As in a service, where a rejected row never comes that far."""
    project.write("hourly", HOURLY, [hourly("a", NOON)])
    entities = asked(("b", 1, NOON), ("a", 1, NOON)).assign(price=2.5)
    rows = project.ours(entities, "computed_v1", absent={"sales": policy})
    assert plain(rows["turnover"]) == [expected, 2.5]


def test_dtypes_do_not_depend_on_the_rows(project: Project) -> None:
    """Whole numbers and truths have a null of their own, whether a row needs it or not."""
    project.write("hourly", HOURLY, [hourly("a", NOON, visitors=2**60 + 1)])
    for shop in ("a", "unknown"):
        dtypes = project.ours(asked((shop, 1, NOON)))[FEATURES].dtypes.astype(str).to_dict()
        assert dtypes == {
            "sales": "float64",
            "visitors": "Int64",
            "mood": "object",
            "open": "boolean",
            "trips": "Int64",
            "name": "object",
            "seen_at": "datetime64[us, UTC]",
        }
    assert project.ours(asked(("a", 1, NOON)))["visitors"][0] == 2**60 + 1


def test_a_parquet_file_gives_what_its_frame_gives_and_batches_what_the_frame_has(
    project: Project, tmp_path: Path
) -> None:
    """In the same digests, too: they are of the values, not of how these are stored."""
    project.write("hourly", HOURLY, [hourly("a", NOON + n * UNIT, float(n)) for n in range(9)])
    entities = asked(*(("a", 1, NOON + n * UNIT) for n in range(9)))
    entities.to_parquet(tmp_path / "asked.parquet", row_group_size=2)
    of_frame = trivet.training_set(project.settings, entities, "all_v1", progress=False)
    of_file = trivet.training_set(
        project.settings, tmp_path / "asked.parquet", "all_v1", progress=False
    )
    pd.testing.assert_frame_equal(of_frame.frame, of_file.frame)
    assert of_frame.record == of_file.record
    parts = list(of_file.batches(rows=4))
    assert [len(part) for part in parts] == [4, 4, 1]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), of_file.frame)
    assert (len(of_file), of_file.service, of_file.project) == (9, "all_v1", "shop")
    changed = trivet.training_set(
        project.settings, entities.assign(label=0), "all_v1", progress=False
    )
    assert changed.entity_digest != of_frame.entity_digest
    assert changed.record.digest == of_frame.record.digest


def test_its_files_go_with_it(project: Project) -> None:
    """And a refused one leaves none behind."""
    made = trivet.training_set(project.settings, asked(("a", 1, NOON)), "all_v1", progress=False)
    folder = made.folder
    assert folder.exists()
    del made
    assert not folder.exists()
    with pytest.raises(BadSetting):
        project.ours(asked(("a", 1, NOON)).drop(columns="shop"))
    assert list(folder.parent.iterdir()) == []


def test_only_the_asked_columns_are_joined(project: Project) -> None:
    """Columns of the request are the caller's own; another timestamp column can be named."""
    project.write("hourly", HOURLY, [hourly("a", NOON)])
    entities = asked(("a", 1, NOON)).rename(columns={"event_timestamp": "asked_at"})
    columns = [
        Column(name="visitors", source="by_hour:visitors", dtype="int64"),
        Column(name="label", source="request", dtype="int64"),
    ]
    rows = project.ours(entities, columns=columns, timestamp="asked_at")
    assert list(rows) == ["shop", "customer", "asked_at", "label", "visitors"]
    assert plain(rows["visitors"]) == [7]


def test_an_empty_frame_gives_an_empty_set(project: Project) -> None:
    """With all its columns."""
    rows = project.ours(asked(("a", 1, NOON)).head(0))
    assert len(rows) == 0
    assert set(FEATURES) < set(rows)


def test_times_are_cut_to_microseconds_and_taken_as_utc(project: Project) -> None:
    """An entity frame of pandas' nanoseconds, and one without a zone."""
    project.write("hourly", HOURLY, [hourly("a", NOON)])
    before = pd.Timestamp(NOON) - pd.Timedelta(nanoseconds=1)
    after = pd.Timestamp(NOON) + pd.Timedelta(nanoseconds=1)
    entities = asked(("a", 1, NOON), ("a", 1, NOON)).assign(event_timestamp=[before, after])
    assert plain(project.ours(entities)["sales"]) == [None, 1.0]
    naive = entities.assign(event_timestamp=entities["event_timestamp"].dt.tz_localize(None))
    assert plain(project.ours(naive)["sales"]) == [None, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="event_timestamp"), "no column event_timestamp"),
        (lambda frame: frame.assign(event_timestamp="noon"), "not a timestamp"),
        (lambda frame: frame.drop(columns="customer"), "no column customer"),
        (lambda frame: frame.assign(shop=1), "shop is of type int64; the join key is string"),
        (lambda frame: frame.assign(customer=1.5), "customer is of type double"),
        (lambda frame: frame.assign(sales=1.0), "has sales, and so has the feature service"),
        (lambda frame: frame.assign(label=[object()]), "cannot be stored"),
    ],
)
def test_an_entity_frame_that_cannot_be_joined_is_refused(
    project: Project, change, message: str
) -> None:
    """With what is wrong about it."""
    with pytest.raises(BadSetting, match=message):
        project.ours(change(asked(("a", 1, NOON))))


def test_what_feast_does_not_have_is_refused(project: Project) -> None:
    """A service, a column, a source's file, a value of another dtype."""
    entities = asked(("a", 1, NOON))
    with pytest.raises(BadSetting, match="no feature service all_v2"):
        project.ours(entities, "all_v2")
    with pytest.raises(BadSetting, match="no by_hour:sales of dtype int64"):
        project.ours(
            entities, columns=[Column(name="sales", source="by_hour:sales", dtype="int64")]
        )
    with pytest.raises(BadSetting, match="None of the columns"):
        project.ours(entities, columns=[])
    fractions = HOURLY.set(HOURLY.get_field_index("visitors"), pa.field("visitors", pa.float64()))
    project.write("hourly", fractions, [hourly("a", NOON, visitors=0.5)])
    with pytest.raises(BadSetting, match="by_hour:visitors is not of its dtype int64"):
        project.ours(entities)
    project.source("hourly").unlink()
    with pytest.raises(FeaturesUnavailable, match="cannot be joined"):
        project.ours(entities)


def test_whole_floats_of_a_source_are_the_integers_that_they_stand_for(project: Project) -> None:
    """So pandas writes a column of whole numbers with a gap."""
    floats = HOURLY.set(HOURLY.get_field_index("visitors"), pa.field("visitors", pa.float64()))
    rows = [hourly("a", NOON, visitors=3.0), hourly("b", NOON, visitors=float("nan"))]
    project.write("hourly", floats, rows)
    assert plain(project.ours(asked(("a", 1, NOON), ("b", 1, NOON)))["visitors"]) == [3, None]


def test_a_source_that_is_no_file_is_retrieved_by_feast(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks, with the same rows in the same order."""
    project.write("hourly", HOURLY, [hourly("a", NOON + n * UNIT, float(n)) for n in range(9)])
    entities = asked(*(("a", 1, NOON + n * UNIT) for n in (5, 0, 8, 5)), (None, 1, NOON))
    entities = entities.rename(columns={"event_timestamp": "asked_at"})
    here = project.ours(entities, timestamp="asked_at")
    monkeypatch.setattr(asof, "parquet_source", lambda store, view: None)
    monkeypatch.setattr(sets, "CHUNK", 2)
    made = trivet.training_set(
        project.settings, entities, "all_v1", timestamp="asked_at", progress=False
    )
    pd.testing.assert_frame_equal(made.frame, here)
    assert [source.digest for source in made.record.sources] == [None] * 3


class TestRebuilding:
    """The set of a registered version is made again from the version alone."""

    @pytest.fixture(autouse=True)
    def _registered(self, project: Project, empty_registry: Path) -> None:
        """Register a version with the set that it was trained on, and forget the set."""
        shutil.copyfile(empty_registry, project.settings.root / "mlflow.db")
        self.project = project
        self.rows = [hourly("a", NOON + n * UNIT, float(n % 7), visitors=n) for n in range(40)]
        project.write("hourly", HOURLY, self.rows)
        entities = asked(*(("a", 1, NOON + n * UNIT) for n in range(40)), ("a", 1, None))
        columns = [
            Column(name="sales", source="by_hour:sales", dtype="float64"),
            Column(name="visitors", source="by_hour:visitors", dtype="int64"),
        ]
        made = trivet.training_set(
            project.settings, entities, "all_v1", columns=columns, progress=False
        )
        self.frame = made.frame
        self.digest = made.entity_digest
        self.version = trivet.register(project.settings, self.candidate(columns, made))

    def candidate(self, columns: list[Column], made: trivet.TrainingSet | None) -> trivet.Candidate:
        """Return a model of two classes on these columns."""
        rows = self.frame.dropna(subset=["sales"])
        inputs = rows[["sales", "visitors"]].astype({"visitors": "int64"})
        return trivet.Candidate(
            model="busy",
            estimator=LogisticRegression().fit(inputs, rows["visitors"].to_numpy("int64") > 20),
            columns=columns,
            output=Classification(classes=("quiet", "busy")),
            held_out=rows.astype({"visitors": "int64"}),
            bento=self.project.settings.root,
            offer=trivet.read_offer(open_store(self.project.settings), "all_v1"),
            training_set=made,
        )

    def rebuild(self) -> trivet.TrainingSet:
        """Make it again."""
        return trivet.rebuild_training_set(
            self.project.settings, "busy", self.version, progress=False
        )

    def test_it_comes_out_value_by_value(self) -> None:
        """With the run's own copy of the entity frame; nothing else is left of the first one."""
        assert list((self.project.settings.home / "training_sets").iterdir()) == []
        again = self.rebuild()
        pd.testing.assert_frame_equal(again.frame, self.frame)
        assert again.entity_digest == self.digest
        assert (again.service, again.project) == ("all_v1", "shop")

    def test_the_run_keeps_the_frame_and_the_record(self) -> None:
        """As artifacts of the run, not of the model: whoever serves it does without."""
        client = connect(self.project.settings)
        entry = client.get_model_version("busy", str(self.version))
        kept = {file.path for file in client.list_artifacts(entry.run_id, "trivet")}
        assert kept == {"trivet/entities.parquet", "trivet/training_set.json"}

    def test_rows_that_came_later_change_nothing(self) -> None:
        """They are in the future of every row of the set."""
        later = [hourly("a", NOON + timedelta(days=1), 99.0)]
        self.project.write("hourly", HOURLY, [*later, *self.rows])
        pd.testing.assert_frame_equal(self.rebuild().frame, self.frame)

    def test_a_changed_past_is_refused_by_name(self) -> None:
        """It would be another set."""
        self.project.write("hourly", HOURLY, [{**self.rows[0], "sales": -1.0}, *self.rows[1:]])
        with pytest.raises(VersionCorrupt, match=r"its sources have changed \(by_hour\)"):
            self.rebuild()

    def test_a_changed_past_can_be_looked_at(self) -> None:
        """Beside the record of what it was."""
        self.project.write("hourly", HOURLY, [{**self.rows[0], "sales": -1.0}, *self.rows[1:]])
        made, record = sets.remake_training_set(
            self.project.settings, "busy", self.version, progress=False
        )
        assert made.frame["sales"].min() == -1.0
        assert (made.record.digest, made.entity_digest) != (record.digest, record.entity_digest)
        assert made.entity_digest == record.entity_digest == self.digest

    def test_another_entity_frame_is_refused(self) -> None:
        """Such as one that somebody put in its place."""
        client = connect(self.project.settings)
        run = client.get_model_version("busy", str(self.version)).run_id
        other = self.project.settings.root / "entities.parquet"
        asked(("a", 1, NOON)).to_parquet(other)
        client.log_artifact(run, str(other), "trivet")
        with pytest.raises(VersionCorrupt, match="not the one that was trained on"):
            self.rebuild()

    def test_a_version_without_one_says_so(self) -> None:
        """Not every model is trained on features."""
        columns = [Column(name="sales", source="by_hour:sales", dtype="float64")]
        bare = self.candidate(columns, None)
        rows = self.frame.dropna(subset=["sales"])
        model = LogisticRegression().fit(rows[["sales"]], rows["sales"] > 3)
        changed = {"estimator": model, "columns": columns}
        fields = {name: getattr(bare, name) for name in bare.__dataclass_fields__}
        version = trivet.register(self.project.settings, trivet.Candidate(**{**fields, **changed}))
        with pytest.raises(UnknownModel, match="has no training set"):
            trivet.rebuild_training_set(self.project.settings, "busy", version, progress=False)
