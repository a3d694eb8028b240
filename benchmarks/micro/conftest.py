"""What the micro-benchmarks share: features in an SQLite store, and a contract over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from feast import FeatureStore

from benchmarks.serving.forest import CLASSES, Rows, fit, held_out, made
from benchmarks.serving.project import SQLITE, Project
from trivet import Classification, load_settings, open_store, read_offer
from trivet.contract import Contract, Runtime

ENTITIES = 10_000


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Ten thousand users and items, materialized."""
    root = tmp_path_factory.mktemp("micro") / "project"
    project = Project.make(root, online=SQLITE, entities=ENTITIES, models=())
    opened = open_store(load_settings(project.root))
    yield opened
    opened.provider.online_store._conn.close()  # noqa: SLF001 - Feast keeps it open


@pytest.fixture(scope="session")
def contract(store: FeatureStore) -> Contract:
    """Return the contract of a forest whose 20 features come from four views."""
    offer = read_offer(store, "forest_v1")
    assert offer is not None
    return Contract(
        model="forest_by_key",
        project=offer.project,
        feature_service=offer.feature_service,
        join_keys=offer.join_keys,
        views=offer.views,
        columns=offer.columns,
        lead_seconds=0.0,
        output=Classification(classes=CLASSES),
        runtime=Runtime(kind="onnx"),
        files={},
        libraries={},
        golden=(),
    )


@pytest.fixture(scope="session")
def forest() -> tuple[Any, Rows]:
    """Return the fitted forest, and a thousand rows that it has not seen."""
    values, labels, _ = made(entities=1)
    return fit(values, labels), held_out(values)
