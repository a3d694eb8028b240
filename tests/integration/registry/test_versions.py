"""Versions are registered with their contract, listed, and brought to a host verified."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import numpy as np
import pytest

from trivet.contract import Regression
from trivet.errors import ContractUnreadable, RegistryUnavailable, UnknownModel, VersionCorrupt
from trivet.live import CONTRACT
from trivet.registry.client import connect, ensure_experiment
from trivet.registry.download import fetch, read_contract
from trivet.registry.pyfunc import PyfuncPredictor
from trivet.registry.register import log_version
from trivet.registry.versions import list_versions, read_aliases
from trivet.settings import Settings

from .toy import FRAME, LATE, MODEL, register, regression

if TYPE_CHECKING:
    from .conftest import Registry

COLUMNS = {"age": FRAME.age.to_numpy(), "purchases": FRAME.purchases.to_numpy()}


def artifacts(registry: Registry, version: int) -> Path:
    """Return the folder in which MLflow keeps a version's files."""
    uri = registry.client.get_model_version_download_uri(MODEL, str(version))
    return Path(urlparse(uri).path)


def test_a_version_answers_through_pyfunc_as_the_estimator_did(registry: Registry) -> None:
    """Probabilities in the contract's order of classes, labels as positions in it."""
    digest = fetch(registry.client, MODEL, 3, registry.shelf)
    contract = read_contract(registry.client, MODEL, 3)
    predictor = PyfuncPredictor(registry.shelf.path(digest), contract.output)
    raw = predictor.predict(COLUMNS)
    assert raw["probabilities"].shape == (len(FRAME), 3)
    assert raw["probabilities"].dtype == np.float64
    assert raw["label"].dtype == np.int64
    assert (raw["label"] == LATE.to_numpy()).mean() > 0.9


def test_a_fetched_version_loads_while_mlflow_is_down(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service restarts from its local copy."""
    digest = fetch(registry.client, MODEL, 1, registry.shelf)
    contract = read_contract(registry.client, MODEL, 1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    connect(registry.settings)
    predictor = PyfuncPredictor(registry.shelf.path(digest), contract.output)
    assert len(predictor.predict(COLUMNS)["label"]) == len(FRAME)


def test_a_regressor_gives_one_value_a_row(registry: Registry) -> None:
    """It has no probabilities and needs no steps."""
    given = regression(registry.settings.root)
    version = log_version(registry.client, registry.settings, given, "regression")
    digest = fetch(registry.client, MODEL, version, registry.shelf)
    predictor = PyfuncPredictor(registry.shelf.path(digest), Regression(unit="years"))
    value = predictor.predict(COLUMNS)["value"]
    assert value.shape == (len(FRAME),)
    assert np.abs(value - FRAME.age).max() < 5


def test_the_contract_names_every_file_that_the_version_runs_on(registry: Registry) -> None:
    """MLflow's own description of environment and model is not among them."""
    contract = read_contract(registry.client, MODEL, 2)
    assert set(contract.files) == {"model.skops", "trivet/preprocess.py"}


def test_a_version_has_its_digest_and_lineage_as_tags(registry: Registry) -> None:
    """They are there for `mlflow ui` and for whoever searches."""
    tags = registry.client.get_model_version(MODEL, "1").tags
    assert tags["trivet.contract_digest"] == read_contract(registry.client, MODEL, 1).digest
    assert tags["trivet.runtime"] == "pyfunc"
    assert tags["feast.feature_service"] == "toy_v1"


def test_versions_are_listed_with_what_a_release_decides_on(registry: Registry) -> None:
    """State, alias, metrics, digest and age."""
    registry.promote(1)
    registry.promote(3)
    listed = list_versions(registry.client, MODEL)
    assert [(one.version, one.state) for one in listed] == [
        (1, "previous"),
        (2, "candidate"),
        (3, "champion"),
    ]
    assert listed[2].aliases == ("champion",)
    assert listed[2].metrics == {"accuracy": 0.8}
    assert datetime.now(UTC) - listed[0].created < timedelta(minutes=10)


def test_a_file_changed_in_the_store_is_refused_and_nothing_is_left(registry: Registry) -> None:
    """The file is named; the shelf has neither the version nor a part of it."""
    version = register(registry.client, registry.settings, 4)
    (artifacts(registry, version) / "trivet/preprocess.py").write_text("TREES = 40\n")
    with pytest.raises(VersionCorrupt, match=r"trivet/preprocess\.py of toy version 4"):
        fetch(registry.client, MODEL, version, registry.shelf)
    assert list(registry.shelf.versions.iterdir()) == []


def test_a_contract_changed_in_the_store_is_refused(registry: Registry) -> None:
    """The tag of the version says which contract it was registered with."""
    version = register(registry.client, registry.settings, 4)
    file = artifacts(registry, version) / CONTRACT
    file.write_text(file.read_text().replace('"low"', '"tiny"'))
    with pytest.raises(VersionCorrupt, match="registered with"):
        read_contract(registry.client, MODEL, version)


def test_a_version_whose_files_are_gone_is_refused(registry: Registry) -> None:
    """The registry still has its entry."""
    version = register(registry.client, registry.settings, 4)
    (artifacts(registry, version) / "model.skops").unlink()
    with pytest.raises(VersionCorrupt, match=r"model\.skops of toy version 4 is missing"):
        fetch(registry.client, MODEL, version, registry.shelf)


def test_a_version_that_is_here_is_not_downloaded_again(registry: Registry) -> None:
    """A rollback needs no download."""
    digest = fetch(registry.client, MODEL, 1, registry.shelf)
    before = (registry.shelf.path(digest) / "MLmodel").stat().st_mtime_ns
    assert fetch(registry.client, MODEL, 1, registry.shelf) == digest
    assert (registry.shelf.path(digest) / "MLmodel").stat().st_mtime_ns == before


def test_a_version_that_somebody_registered_without_a_contract_is_refused(
    registry: Registry,
) -> None:
    """It is listed all the same."""
    source = registry.client.get_model_version(MODEL, "1").source
    registry.client.create_model_version(MODEL, source)
    with pytest.raises(ContractUnreadable, match="toy version 4 has no contract"):
        read_contract(registry.client, MODEL, 4)
    assert list_versions(registry.client, MODEL)[-1].digest is None


def test_an_unknown_version_is_refused_with_those_that_exist(registry: Registry) -> None:
    """A slip of the finger is mended without another command."""
    with pytest.raises(UnknownModel, match="toy has no version 7; versions: 1, 2, 3"):
        read_contract(registry.client, MODEL, 7)


def test_an_unknown_model_is_named(registry: Registry) -> None:
    """Rather than given as MLflow's error code."""
    with pytest.raises(UnknownModel, match="MLflow has no model tow"):
        read_aliases(registry.client, "tow")


def test_a_server_that_is_down_is_named_with_its_address(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code says that something needed is down."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    client = connect(registry.settings)
    with pytest.raises(RegistryUnavailable, match=r"MLflow at http://127\.0\.0\.1:9") as caught:
        read_aliases(client, MODEL)
    assert caught.value.exit_code == 3


def test_a_database_that_is_none_is_an_unavailable_registry(tmp_path: Path) -> None:
    """A damaged file is told by a sentence as well."""
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    settings = Settings(root=tmp_path, home=tmp_path / ".trivet")
    with pytest.raises(RegistryUnavailable):
        read_aliases(connect(settings), MODEL)


def test_a_deleted_experiment_is_not_silently_replaced(registry: Registry) -> None:
    """The sentence says how to restore it."""
    experiment = ensure_experiment(registry.client, registry.settings, MODEL)
    registry.client.delete_experiment(experiment)
    with pytest.raises(UnknownModel, match=f"restore -x {experiment}"):
        ensure_experiment(registry.client, registry.settings, MODEL)


def test_connecting_leaves_the_choice_of_the_next_project_open(registry: Registry) -> None:
    """MLflow exports the address it was given; another project must not inherit it."""
    connect(registry.settings)
    assert "MLFLOW_TRACKING_URI" not in os.environ
