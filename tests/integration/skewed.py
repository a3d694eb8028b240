"""A shop whose predictions are logged for real, so that a test can plant what makes them differ.

Feast's stores, the online reader, the data plane and the log are the real ones; only the model is
none. Moments are the test's own: requests are asked as of whatever moment it says.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trivet.columns import Columns
from trivet.contract import Absent, Contract, Default, Regression, Runtime
from trivet.features.apply import apply_features, plan_features
from trivet.features.cache import RowCache
from trivet.features.materialize import materialize
from trivet.features.offer import read_offer
from trivet.features.on_demand import open_transforms
from trivet.features.reader import OnlineReader
from trivet.features.store import open_store
from trivet.live import CONTRACT, Shelf
from trivet.observe.skew.find import Skew, find_skew
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output
from trivet.serving.dataplane import DataPlane
from trivet.serving.loaded import Version
from trivet.serving.log.writer import PredictionLog
from trivet.settings import Settings
from unit.fakes import FakeRecorder, filled_slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feast import FeatureStore

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
MODEL, SERVICE = "shop", "shop_v1"

YAML = """\
project: shop
provider: local
registry: ../data/registry.db
online_store:
  type: sqlite
  path: ../data/online.db
offline_store:
  type: duckdb
entity_key_serialization_version: 3
"""

DEFINITIONS = '''\
"""What is known of users, and of products."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

DATA = Path(__file__).resolve().parent.parent / "data"

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.INT64)
users = FeatureView(
    name="users",
    entities=[user],
    ttl=timedelta(hours=2),
    schema=[
        Field(name="user_id", dtype=String),
        Field(name="income", dtype=Float64),
        Field(name="visits", dtype=Int64),
        Field(name="segment", dtype=String),
        Field(name="loyal", dtype=Bool),
    ],
    source=FileSource(
        name="users_source",
        path=str(DATA / "users.parquet"),
        timestamp_field="event_timestamp",
    ),
)
products = FeatureView(
    name="products",
    entities=[product],
    ttl=timedelta(0),
    schema=[
        Field(name="product_id", dtype=Int64),
        Field(name="weight", dtype=Float64),
        Field(name="ratio", dtype=Float32),
        Field(name="parts", dtype=Int32),
        Field(name="made_at", dtype=UnixTimestamp),
    ],
    source=FileSource(
        name="products_source",
        path=str(DATA / "products.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="written_at",
    ),
)
order = RequestSource(name="order", schema=[Field(name="amount", dtype=Float64)])


@on_demand_feature_view(
    name="sums",
    sources=[order, users[["income", "visits"]]],
    schema=[Field(name="gross", dtype=Float64), Field(name="burden", dtype=Float64)],
    mode="python",
)
def sums(inputs):
    return {
        "gross": [1.19 * amount for amount in inputs["amount"]],
        "burden": [
            None if income is None else amount / (1 + income)
            for amount, income in zip(inputs["amount"], inputs["income"])
        ],
    }


shop_v1 = FeatureService(
    name="shop_v1",
    features=[
        users[["income", "visits", "segment", "loyal"]],
        products[["weight", "ratio", "parts", "made_at"]],
        sums,
    ],
)
'''
POLICIES: Mapping[str, Absent] = {
    "users:*": "null",
    "products:*": "null",
    "segment": Default(default="none"),
    "gross": "null",
    "burden": "null",
    "visits": "null",
}
STAMP = pa.timestamp("us", "UTC")
SCHEMAS = {
    "users": pa.schema(
        {
            "user_id": pa.string(),
            "event_timestamp": STAMP,
            "income": pa.float64(),
            "visits": pa.int64(),
            "segment": pa.string(),
            "loyal": pa.bool_(),
        }
    ),
    "products": pa.schema(
        {
            "product_id": pa.int64(),
            "event_timestamp": STAMP,
            "written_at": STAMP,
            "weight": pa.float64(),
            "ratio": pa.float32(),
            "parts": pa.int32(),
            "made_at": STAMP,
        }
    ),
}


class Shop:
    """The project, and the steps of its stories."""

    def __init__(self, root: Path, definitions: str = DEFINITIONS) -> None:
        """Write its files, and apply its definitions; nothing is known yet."""
        self.root = root
        self.settings = Settings(
            root=root, feature_repo=root / "feature_repo", home=root / ".trivet"
        )
        (root / "feature_repo").mkdir(parents=True)
        (root / "data").mkdir()
        (root / "pyproject.toml").write_text("[tool.trivet]\n")
        (root / "feature_repo" / "feature_store.yaml").write_text(YAML)
        self.definitions = definitions
        for view in SCHEMAS:
            self.know(view, [])
        self.apply()
        self._numbers = itertools.count()

    def open(self) -> FeatureStore:
        """Open the feature store."""
        return open_store(self.settings)

    def apply(self, *edits: tuple[str, str]) -> None:
        """Apply the definitions with some edits, whatever they break."""
        text = self.definitions
        for before, after in edits:
            assert before in text
            text = text.replace(before, after)
        (self.root / "feature_repo" / "shop.py").write_text(text)
        apply_features(plan_features(self.open(), self.settings), self.settings)

    def source(self, view: str) -> Path:
        """Return the file of a view's source."""
        return self.root / "data" / f"{view}.parquet"

    def know(self, view: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make these a view's source rows."""
        self.write(view, pa.Table.from_pylist([dict(row) for row in rows], SCHEMAS[view]))

    def learn(self, view: str, *rows: Mapping[str, Any]) -> None:
        """Add rows to a view's source."""
        self.know(view, [*pq.read_table(self.source(view)).to_pylist(), *rows])

    def write(self, view: str, table: pa.Table) -> None:
        """Make a table, of whatever types, a view's source."""
        pq.write_table(table, self.source(view), coerce_timestamps="us")

    def rewrite(self, view: str, column: str, values: pa.Array) -> None:
        """Replace one column of a source."""
        table = pq.read_table(self.source(view))
        at = table.column_names.index(column)
        self.write(view, table.set_column(at, column, values))

    def materialize(self, at: datetime, **options: Any) -> None:
        """Bring online what is known at a moment."""
        list(materialize(self.open(), self.settings, at, **options))

    def contract(self) -> Contract:
        """Return a contract on what the registry offers now."""
        offer = read_offer(self.open(), SERVICE, POLICIES)
        assert offer is not None
        return Contract(
            model=MODEL,
            project=offer.project,
            feature_service=offer.feature_service,
            join_keys=offer.join_keys,
            views=offer.views,
            columns=offer.columns,
            inputs=offer.inputs,
            on_demand=offer.on_demand,
            lead_seconds=0,
            output=Regression(unit="EUR"),
            runtime=Runtime(kind="pyfunc", reason="it is none"),
            files={},
            libraries={},
            golden=(),
        )

    @contextmanager
    def serving(
        self, number: int = 1, contract: Contract | None = None, cache: RowCache | None = None
    ) -> Iterator[Serving]:
        """Serve a version, and have all of its predictions in the log at the end."""
        contract = contract or self.contract()
        folder = Shelf(self.settings.home, MODEL).path(contract.digest)
        (folder / CONTRACT).parent.mkdir(parents=True, exist_ok=True)
        (folder / CONTRACT).write_text(contract.to_json())
        store = self.open()
        version = Version(
            number,
            contract,
            Pipeline(_NoModel(), contract.output),
            OnlineReader(store, contract, cache=cache),
            open_transforms(store, contract),
        )
        log = PredictionLog(self.settings, MODEL, _Counts())
        log.start()
        try:
            yield Serving(version, self, log, self._numbers)
        finally:
            log.close()

    def skew(self, **options: Any) -> Skew:
        """Find the skew of what has been logged."""
        return find_skew(self.settings, MODEL, **options)[0]


class Serving:
    """Answers requests as of any moment."""

    def __init__(
        self, version: Version, shop: Shop, log: PredictionLog, numbers: itertools.count[int]
    ) -> None:
        """`numbers`: of request ids."""
        self._numbers = numbers
        self._at = NOON
        contract = version.contract
        fields = {one.name for one in (*contract.join_keys, *contract.request_columns)}
        usual = {"user_id": "u1", "product_id": 1, "amount": 10.0}
        self._usual = {name: value for name, value in usual.items() if name in fields}
        self.plane = DataPlane(
            filled_slot(shop.root / f"slot-{version.number}", version),
            shop.settings.model_copy(update={"max_rows": 10_000}),
            lambda: self._at,
            FakeRecorder(),
            log,
        )

    def ask(self, at: datetime, *instances: Mapping[str, Any]) -> None:
        """Ask for predictions in one request at a moment."""
        self._at = at
        name = f"r{next(self._numbers)}"
        asked = [{**self._usual, **one} for one in instances]
        asyncio.run(self.plane.predict(asked, lambda slot: slot.champion(), name))


class _NoModel:
    """Predicts nothing: what it was given is what is looked at."""

    def predict(self, columns: Columns) -> Output:
        """Return a zero a row."""
        return {"value": np.zeros(len(next(iter(columns.values()))))}


class _Counts:
    """Rows of the log that are counted by nobody, but for those that must not be lost."""

    def logged(self, rows: int) -> None:
        """Nothing."""

    def unlogged(self, rows: int, reason: str) -> None:
        """No row may be lost."""
        raise AssertionError(f"{rows} rows were lost: {reason}")


def user(name: str, at: datetime, **values: Any) -> dict[str, Any]:
    """Return what is known of a user at a moment."""
    known = {"income": 1000.1, "visits": 3, "segment": "gold", "loyal": True}
    return {"user_id": name, "event_timestamp": at, **known, **values}


def product(number: int, at: datetime, **values: Any) -> dict[str, Any]:
    """Return what is known of a product at a moment, written at that moment."""
    known = {"weight": 0.1, "ratio": np.float32(0.3), "parts": 4, "made_at": NOON - 24 * HOUR}
    return {"product_id": number, "event_timestamp": at, "written_at": at, **known, **values}
