"""A project on one online store and one registry, and what a test does with it."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from contract.definitions import SCHEMAS, SERVICE, definitions
from contract.stores import YAML, OnlineStore, Registry
from trivet.contract import Contract, Regression, Runtime
from trivet.features.asof import open_join
from trivet.features.offer import read_offer
from trivet.features.question import Question
from trivet.features.reader import OnlineReader
from trivet.features.store import open_store
from trivet.features.values import Features
from trivet.settings import Settings

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_FULL = {
    "level": 20.5,
    "ratio": 0.1,
    "count": 3,
    "small": 4,
    "label": "warm",
    "open": True,
    "seen_at": NOON - timedelta(days=1),
    "visits": 7,
    "points": 1.5,
}


@dataclass(kw_only=True)
class Project:
    """Feast's own objects beside Trivet's, over the same stores."""

    settings: Settings
    online: OnlineStore
    variables: Mapping[str, str]
    store: FeatureStore
    contract: Contract
    reader: OnlineReader
    _opened: list[FeatureStore] = field(default_factory=list)
    _names: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def make(
        cls,
        root: Path,
        name: str,
        online: OnlineStore,
        registry: Registry,
        variables: Mapping[str, str],
    ) -> Project:
        """Write `feature_store.yaml`, apply the definitions, and open everything."""
        yaml = YAML.format(project=name, registry=registry.yaml, online=online.yaml)
        (root / "feature_store.yaml").write_text(yaml)
        settings = Settings(root=root, feature_repo=root, home=root / ".trivet")
        for view, schema in SCHEMAS.items():
            pq.write_table(schema.empty_table(), root / f"{view}.parquet")
        store = open_with(settings, variables)
        with warnings.catch_warnings():
            # Feast calls its on-demand views experimental.
            warnings.simplefilter("ignore", RuntimeWarning)
            store.apply(definitions(root))
        contract = whole_contract(store)
        return cls(
            settings=settings,
            online=online,
            variables=variables,
            store=store,
            contract=contract,
            reader=OnlineReader(store, contract),
        )

    def open(self) -> FeatureStore:
        """Open the store once more, as another process would."""
        store = open_with(self.settings, self.variables)
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close what Feast leaves open."""
        for store in (self.store, *self._opened):
            close(store)

    def name(self, prefix: str = "s") -> str:
        """Return a key that no test has used yet: tests share the stores, and not the rows."""
        return f"{prefix}{next(self._names)}"

    def number(self) -> int:
        """Return a key of whole numbers that no test has used yet."""
        return 1000 + next(self._names)

    def learn(self, view: str, rows: Sequence[Mapping[str, Any]], until: datetime) -> None:
        """Make these a view's source rows, and bring online what is known at a moment."""
        self.write(view, rows)
        self.store.materialize(LONG_AGO, until, [view])

    def write(self, view: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make these a view's source rows."""
        path = self.settings.root / f"{view}.parquet"
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], SCHEMAS[view]), path)

    def row(self, view: str, at: datetime, **values: Any) -> dict[str, Any]:
        """Return a full row of a view, known at a moment; `values` hold its keys at least."""
        schema = SCHEMAS[view]
        full = {name: value for name, value in _FULL.items() if name in schema.names}
        return {**full, "event_timestamp": at, **values}

    def read(self, at: datetime, **keys: Sequence[Any]) -> Features:
        """Read by Trivet, at a moment; keys that are not given are unknown ones."""
        rows = len(next(iter(keys.values())))
        unknown = {"sensor": ["nobody"], "shop_id": [-1], "grade": [-1]}
        return self.reader.read({k: keys.get(k, v * rows) for k, v in unknown.items()}, at)

    def read_by_feast(self, **keys: Sequence[Any]) -> dict[str, list[Any]]:
        """Read the same by Feast, which knows no expiry."""
        rows = len(next(iter(keys.values())))
        unknown = {"sensor": ["nobody"], "shop_id": [-1], "grade": [-1]}
        wanted = {k: list(keys.get(k, v * rows)) for k, v in unknown.items()}
        names = [c.source for c in self.contract.columns if c.view is not None]
        found: dict[str, list[Any]] = self.store.get_online_features(names, wanted).to_dict()
        return found

    def counts_as_of(self, asked: Sequence[tuple[str, datetime]]) -> list[int | None]:
        """Return the counts of sensors that Trivet's join finds in the source as of moments."""
        return self.as_of(["count"], asked)["count"]

    def as_of(
        self, names: Sequence[str], asked: Sequence[tuple[str, datetime]]
    ) -> dict[str, list[Any]]:
        """Return columns of the readings that Trivet's join finds in the source as of moments."""
        question = Question(
            columns=tuple(c for c in self.contract.columns if c.name in names),
            views=self.contract.views,
            join_keys=self.contract.join_keys,
            timestamp="at",
        )
        moments = [at for _, at in asked]
        stamps = pa.array(moments, pa.timestamp("us", "UTC"))
        entities = pa.table({"sensor": [sensor for sensor, _ in asked], "at": stamps})
        span = (min(moments), max(moments))
        with open_join(self.store, question, span, self.settings.root) as join:
            found: dict[str, list[Any]] = join.features(entities).to_pydict()
            return found

    def frame(self, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return rows as whoever pushes them has them."""
        return pd.DataFrame([dict(row) for row in rows])


def open_with(settings: Settings, variables: Mapping[str, str]) -> FeatureStore:
    """Open a project's store in an environment with these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        return open_store(settings)


def close(store: FeatureStore) -> None:
    """Close the connections that Feast keeps for as long as the process lives."""
    for name in ("_conn", "_client"):
        connection = getattr(store.provider.online_store, name, None)
        if connection is not None:
            connection.close()
    for name in ("write_engine", "read_engine"):
        engine = getattr(store.registry, name, None)
        if engine is not None:
            engine.dispose()


def whole_contract(store: FeatureStore) -> Contract:
    """Return a contract over everything that the feature service offers; every absent value is null."""
    names = [feature for schema in SCHEMAS.values() for feature in schema.names]
    offer = read_offer(store, SERVICE, dict.fromkeys([*names, "above", "is_above"], "null"))
    assert offer is not None
    return Contract(
        model="tried",
        project=offer.project,
        feature_service=offer.feature_service,
        join_keys=offer.join_keys,
        views=offer.views,
        columns=offer.columns,
        inputs=offer.inputs,
        on_demand=offer.on_demand,
        lead_seconds=0.0,
        output=Regression(unit="1"),
        runtime=Runtime(kind="onnx"),
        files={},
        libraries={},
        golden=(),
    )
