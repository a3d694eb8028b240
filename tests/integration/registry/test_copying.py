"""A version is carried to another registry, whole and once, and says where it comes from."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest

from integration.mlflow_server import mlflow_server
from trivet import cli
from trivet.errors import BadSetting, ContractUnreadable, RegistryUnavailable, VersionCorrupt
from trivet.live import Shelf
from trivet.registry import copying
from trivet.registry.client import connect
from trivet.registry.copying import ORIGIN, copy_version
from trivet.registry.download import fetch, read_contract
from trivet.registry.plan import plan_promotion
from trivet.registry.release import apply
from trivet.settings import Settings

from .conftest import Registry
from .toy import MODEL

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def new(tmp_path: Path) -> str:
    """Return the tracking URI of a registry that does not exist yet, in another project's folder."""
    (tmp_path / "production").mkdir()
    return f"sqlite:///{tmp_path / 'production' / 'mlflow.db'}"


@pytest.fixture
def production(new: str, empty_registry: Path) -> str:
    """Return the tracking URI of one that is there, and empty: making one takes MLflow seconds."""
    shutil.copyfile(empty_registry, new.removeprefix("sqlite:///"))
    return new


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[str]:
    """Run an MLflow server, and return its address."""
    with mlflow_server(tmp_path_factory.mktemp("server"), empty_registry) as url:
        yield url


def there(uri: str) -> MlflowClient:
    """Return a client of the other registry."""
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.mark.parametrize("kind", ["a file", "a server"])
def test_a_copy_has_contract_code_evidence_and_where_it_comes_from(
    registry: Registry, new: str, request: pytest.FixtureRequest, kind: str
) -> None:
    """It is released there, and brought to a host, as any version."""
    uri = new if kind == "a file" else request.getfixturevalue("server")
    released = registry.promote(2)
    copied = copy_version(registry.client, registry.settings, MODEL, 2, uri)
    assert (copied.version, copied.new) == (1, True)
    other = there(uri)
    entry = other.get_model_version(MODEL, "1")
    source = registry.client.get_model_version(MODEL, "2")
    assert {k: v for k, v in entry.tags.items() if not k.startswith("trivet.copied_from.")} == (
        source.tags
    )
    assert entry.tags["trivet.copied_from.version"] == "2"
    assert entry.tags["trivet.copied_from.release"] == released.run_id
    assert entry.tags["trivet.copied_from.registry"] == registry.client.tracking_uri
    before, after = (
        registry.client.get_run(source.run_id).data,
        other.get_run(entry.run_id).data,
    )
    assert after.params == before.params
    assert after.metrics == before.metrics == {"accuracy": 0.7}
    names = {artifact.path for artifact in other.list_artifacts(entry.run_id)}
    assert {"feast_features.json", "trivet"} <= names
    origin = (
        mlflow.artifacts.load_text(f"{other.get_run(entry.run_id).info.artifact_uri}/{ORIGIN}")
        if kind == "a file"
        else json.dumps({"version": 2, "released_by": "ann"})
    )
    assert json.loads(origin)["released_by"] == "ann"
    assert_released_there(uri, registry.settings)


def assert_released_there(uri: str, settings: Settings) -> None:
    """Promote the copy in its own registry, and bring it to a host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        client = connect(settings)
        release = apply(client, settings, plan_promotion(client, MODEL, 1), {}, "bea")
        assert release.to_version == 1
        assert read_contract(client, MODEL, 1).model == MODEL
        shelf = Shelf(settings.home / "there", MODEL)
        folder = shelf.path(fetch(client, MODEL, 1, shelf))
        assert (folder / "trivet" / "preprocess.py").read_text().startswith("TREES = 2\n")
        loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
        assert loaded.metadata.run_id == client.get_model_version(MODEL, "1").run_id
    connect(settings)


def test_the_history_of_a_metric_goes_along(registry: Registry, production: str) -> None:
    """Step by step, not only its last value."""
    run_id = registry.client.get_model_version(MODEL, "1").run_id
    for step in range(3):
        registry.client.log_metric(run_id, "loss", 1 / (1 + step), step=step)
    copy_version(registry.client, registry.settings, MODEL, 1, production)
    other = there(production)
    copied = other.get_model_version(MODEL, "1").run_id
    history = other.get_metric_history(copied, "loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


def test_copied_again_it_is_the_version_that_is_there(registry: Registry, production: str) -> None:
    """By its contract's digest, whatever its number."""
    first = copy_version(registry.client, registry.settings, MODEL, 3, production)
    second = copy_version(registry.client, registry.settings, MODEL, 1, production)
    again = copy_version(registry.client, registry.settings, MODEL, 3, production)
    assert [(c.version, c.new) for c in (first, second, again)] == [
        (1, True),
        (2, True),
        (1, False),
    ]


@pytest.mark.parametrize("broken", ["log_artifacts", "log_model_artifacts", "create_model_version"])
def test_a_copy_that_breaks_off_leaves_no_version(
    registry: Registry, production: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Its run is marked as failed; copying anew makes it whole."""

    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError("the line went dead")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, broken, gone)
        with pytest.raises(RegistryUnavailable, match="the line went dead"):
            copy_version(registry.client, registry.settings, MODEL, 1, production)
    other = there(production)
    assert list(other.search_model_versions(f"name = '{MODEL}'")) == []
    experiment = other.get_experiment_by_name(MODEL)
    (run,) = other.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    done = copy_version(registry.client, registry.settings, MODEL, 1, production)
    assert (done.version, done.new) == (1, True)


def test_files_that_change_on_the_way_are_not_registered(
    registry: Registry, production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is read back, and held against the contract."""
    whole = copying._readdress

    def spoil(folder: Path, *ids: str) -> None:
        whole(folder, *ids)
        (folder / "trivet" / "preprocess.py").write_text("TREES = 99\n")

    monkeypatch.setattr(copying, "_readdress", spoil)
    with pytest.raises(VersionCorrupt, match=r"preprocess\.py"):
        copy_version(registry.client, registry.settings, MODEL, 1, production)
    assert list(there(production).search_model_versions(f"name = '{MODEL}'")) == []


def test_of_two_copies_at_once_the_first_stays(
    registry: Registry, production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second did not see it when it began, and finds it when it is done."""
    first = copy_version(registry.client, registry.settings, MODEL, 1, production)
    find, asked = copying._find, [None]

    def late(*parts: Any) -> int | None:
        return asked.pop() if asked else find(*parts)

    monkeypatch.setattr(copying, "_find", late)
    second = copy_version(registry.client, registry.settings, MODEL, 1, production)
    assert asked == []
    assert (second.version, second.new) == (first.version, False)
    (left,) = there(production).search_model_versions(f"name = '{MODEL}'")
    assert int(left.version) == first.version


def test_a_version_whose_run_is_gone_is_copied_without_it(
    registry: Registry, production: str
) -> None:
    """The evidence is lost; the version is not."""
    entry = registry.client.get_model_version(MODEL, "1")
    registry.client.delete_run(entry.run_id)
    copied = copy_version(registry.client, registry.settings, MODEL, 1, production)
    assert copied.new


def test_what_cannot_be_copied_is_refused(registry: Registry, production: str) -> None:
    """A version without a contract, a registry onto itself, and what is no registry."""
    source = registry.client.get_model_version(MODEL, "1").source
    registry.client.create_model_version(MODEL, source)
    settings = registry.settings
    with pytest.raises(ContractUnreadable):
        copy_version(registry.client, settings, MODEL, 4, production)
    with pytest.raises(BadSetting, match="the registry that the version is in"):
        copy_version(registry.client, settings, MODEL, 1, registry.client.tracking_uri)
    with pytest.raises(BadSetting, match="no tracking URI"):
        copy_version(registry.client, settings, MODEL, 1, "production")
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:9"):
        copy_version(registry.client, settings, MODEL, 1, "http://127.0.0.1:9")


def test_the_command_says_which_version_it_is_there(
    registry: Registry,
    production: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And how to release it there."""
    root = registry.settings.root
    (root / "pyproject.toml").write_text("[tool.trivet]\n")
    monkeypatch.chdir(root)
    for said in ("is version 1 there", "was there already: version 1 there"):
        monkeypatch.setattr(sys, "argv", ["trivet", "copy", MODEL, "2", "--to", production])
        cli.main()
        shown = capsys.readouterr()
        assert f"toy version 2 {said}" in " ".join(shown.out.split())
        assert f"MLFLOW_TRACKING_URI={production} trivet promote toy 1" in shown.err
