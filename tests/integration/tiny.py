"""A project of one small feature view, in a folder of its own, and processes that work in it."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LinearRegression

from trivet.contract import Contract, Regression, Runtime
from trivet.features.apply import apply_features, plan_features
from trivet.features.materialize import Watcher, materialize
from trivet.features.offer import read_offer
from trivet.features.reader import OnlineReader
from trivet.features.store import open_store
from trivet.registry import release
from trivet.registry.plan import plan_promotion
from trivet.registry.register import Submission, log_version
from trivet.settings import Settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from feast import FeatureStore
    from mlflow import MlflowClient

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVICE = "toy_v1"
MODEL = "toy"

_YAML = """\
project: tiny
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
"""What is known of users."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
users = FeatureView(
    name="users",
    entities=[user],
    ttl=timedelta(hours=2),
    schema=[
        Field(name="user_id", dtype=String),
        Field(name="age", dtype=Float64),
        Field(name="purchases", dtype=Int64),
    ],
    source=FileSource(
        name="users_source",
        path=str(Path(__file__).resolve().parent.parent / "data" / "users.parquet"),
        timestamp_field="event_timestamp",
    ),
)
basket = RequestSource(name="basket", schema=[Field(name="amount", dtype=Float64)])


@on_demand_feature_view(
    name="sums",
    sources=[basket],
    schema=[Field(name="gross", dtype=Float64)],
    mode="python",
)
def sums(inputs):
    return {"gross": [1.19 * amount for amount in inputs["amount"]]}


toy_v1 = FeatureService(name="toy_v1", features=[users[["age", "purchases"]], sums])
'''


def pushed(definitions: str = DEFINITIONS) -> str:
    """Return the definitions with a push source, `users_push`, over the view's file."""
    begin, end = definitions.index("source=FileSource("), definitions.index("\n)\nbasket")
    source = definitions[begin + len("source=") : end].rstrip().removesuffix(",")
    through = f'source=PushSource(name="users_push", batch_source={source}),'
    changed = definitions[:begin] + through + definitions[end:]
    return changed.replace("FileSource, RequestSource", "FileSource, PushSource, RequestSource")


class Tiny:
    """The project, and the steps of its stories."""

    def __init__(self, root: Path, users: int = 3) -> None:
        """Write its files; nothing is applied yet."""
        self.root = root
        self.settings = Settings(
            root=root, feature_repo=root / "feature_repo", home=root / ".trivet"
        )
        (root / "feature_repo").mkdir(parents=True)
        (root / "data").mkdir()
        (root / "pyproject.toml").write_text("[tool.trivet]\n")
        (root / "feature_repo" / "feature_store.yaml").write_text(_YAML)
        self.define(DEFINITIONS)
        self.learn(users, NOON - timedelta(hours=1))

    @property
    def registry_file(self) -> Path:
        """Feast's registry."""
        return self.root / "data" / "registry.db"

    @property
    def online_file(self) -> Path:
        """The online store."""
        return self.root / "data" / "online.db"

    def open(self) -> FeatureStore:
        """Open the feature store."""
        return open_store(self.settings)

    def define(self, definitions: str = DEFINITIONS) -> None:
        """Write the definitions."""
        (self.root / "feature_repo" / "users.py").write_text(definitions)

    def change(self, before: str, after: str) -> None:
        """Edit the definitions."""
        assert before in DEFINITIONS
        self.define(DEFINITIONS.replace(before, after))

    def apply(self) -> None:
        """Apply the definitions, whatever they break."""
        apply_features(plan_features(self.open(), self.settings), self.settings)

    def learn(self, users: int, *moments: datetime) -> None:
        """Make the source: a row a user and moment, of values that tell which."""
        frames = [
            pd.DataFrame(
                {
                    "user_id": [f"u{number:05}" for number in range(users)],
                    "age": np.arange(users) + 100.0 * turn,
                    "purchases": np.arange(users) + turn,
                    "visits": np.arange(users),
                    "event_timestamp": pd.Series([moment] * users, dtype="datetime64[us, UTC]"),
                }
            )
            for turn, moment in enumerate(moments)
        ]
        table = pa.Table.from_pandas(pd.concat(frames), preserve_index=False)
        pq.write_table(table, self.root / "data" / "users.parquet", coerce_timestamps="us")

    def contract(self) -> Contract:
        """Return a contract on what the registry offers now."""
        offer = read_offer(self.open(), SERVICE)
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
            output=Regression(unit="years"),
            runtime=Runtime(kind="pyfunc", reason="it is a toy"),
            files={},
            libraries={},
            golden=(),
        )

    def register(self, client: MlflowClient, project: str = "tiny") -> int:
        """Register a version on what the registry offers now, and return its number."""
        frame = pd.DataFrame({"age": np.arange(20.0), "purchases": np.arange(20.0)})
        submission = Submission(
            contract=self.contract(),
            estimator=LinearRegression().fit(frame, frame.age),
            example=frame.head(3),
            tags={"feast.project": project, "feast.feature_service": SERVICE},
        )
        return log_version(client, self.settings, submission, "a toy")

    def promote(self, client: MlflowClient, version: int) -> None:
        """Release a version."""
        plan = plan_promotion(client, MODEL, version)
        release.apply(client, self.settings, plan, {}, "ann")

    def materialize(self, now: datetime = NOON, **options: Any) -> list[Any]:
        """Bring online what is known by then."""
        return list(materialize(self.open(), self.settings, now, **options))

    def online(self) -> list[tuple[Any, ...]]:
        """Return everything that is in the online store."""
        with closing(sqlite3.connect(self.online_file)) as connection:
            query = "SELECT entity_key, feature_name, value, event_ts FROM tiny_users ORDER BY 1, 2"
            return connection.execute(query).fetchall()

    def materialized_until(self) -> datetime | None:
        """Return the end of the last interval that Feast has recorded."""
        end: datetime | None = self.open().get_feature_view("users").most_recent_end_time
        return end


class Signals(Watcher):
    """Tells another process how far a materialization is, and waits for it if told to."""

    def __init__(self, pipe: Connection, go_on: Any, halt_at: int | None) -> None:
        """`pipe`: the other process reads from its end; `go_on`: an event to wait for at `halt_at`."""
        self._pipe = pipe
        self._go_on = go_on
        self._halt_at = halt_at

    def waiting(self) -> None:
        """Say so."""
        self._pipe.send("waiting")

    def wrote(self, view: str, rows: int, of: int) -> None:
        """Say so."""
        self._pipe.send(rows)
        if rows == self._halt_at:
            self._go_on.wait()


def materialize_in_process(
    root: str, now: datetime, pipe: Connection, go_on: Any, halt_at: int | None
) -> None:
    """Materialize, telling `pipe` how it goes; what another process runs."""
    settings = Settings(
        root=Path(root), feature_repo=Path(root) / "feature_repo", home=Path(root) / ".trivet"
    )
    # A shell has what it runs in the background ignore this signal, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals = Signals(pipe, go_on, halt_at)
    done = list(materialize(open_store(settings), settings, now, watcher=signals))
    pipe.send(("done", sum(view.rows for view in done)))


def read_in_process(root: str, contract: Any, stop: Any, pipe: Connection) -> None:
    """Read the online store again and again until `stop` is set; tell how often, and what failed."""
    settings = Settings(
        root=Path(root), feature_repo=Path(root) / "feature_repo", home=Path(root) / ".trivet"
    )
    reader = OnlineReader(open_store(settings), contract)
    keys = {"user_id": [f"u{number:05}" for number in range(0, 500, 50)]}
    slowest, reads, ages = 0.0, 0, set()
    pipe.send("reading")
    try:
        while not stop.is_set():
            started = time.perf_counter()
            found = reader.read(keys, NOON)
            slowest = max(slowest, time.perf_counter() - started)
            reads += 1
            ages |= set(found.values["age"])
        pipe.send((reads, slowest, ages))
    except Exception as err:  # noqa: BLE001 - whatever it is, the test shows it
        pipe.send(f"{type(err).__name__}: {err}")
