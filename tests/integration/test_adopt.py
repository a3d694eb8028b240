"""A version that somebody registered with MLflow, or Feast, alone gets a contract, and is served."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from integration.mlflow_server import mlflow_server
from integration.tiny import SERVICE, Tiny
from trivet import cli
from trivet.contract import Contract
from trivet.errors import AdoptionRefused, BadSetting, GatesRefused, SignatureMismatch
from trivet.gates import release_gates
from trivet.live import Shelf
from trivet.registry import release
from trivet.registry.adopt import parse_uri
from trivet.registry.client import connect
from trivet.registry.copying import copy_version
from trivet.registry.download import fetch
from trivet.registry.ledger import read_chain
from trivet.registry.plan import plan_promotion
from trivet.registry.shelve import follow, wanted_of
from trivet.registry.versions import DIGEST_TAG
from trivet.serving.worker import Worker
from trivet.settings import Settings
from trivet.training.adopting import Adoption, _numbered, adopt

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning"),
    # MLflow advises to make integer columns floats.
    pytest.mark.filterwarnings("ignore:.*integer column.*:UserWarning"),
]

KEY = {"user_id": "u00001", "amount": 100.0}
MLFLOW_IN_FEAST = """\
mlflow:
  enabled: true
  auto_log: true
"""


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "TRIVET_ROOT"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Place:
    """A project whose users are online, and a registry in which somebody has worked without Trivet."""

    tiny: Tiny
    client: MlflowClient

    def log(self, model: Any, name: str, frame: pd.DataFrame, **options: Any) -> None:
        """Register a model with MLflow alone.

        Its requirements are given: MLflow finds them out in a process that imports everything anew.
        """
        given = {"skops_trusted_types": ["numpy.dtype"], "input_example": frame.head(5)}
        given |= {"pip_requirements": ["scikit-learn"]} | options
        connect(self.tiny.settings)  # another test may have been elsewhere
        mlflow.set_experiment("theirs")
        with mlflow.start_run():
            mlflow.sklearn.log_model(model, name=name, registered_model_name=name, **given)

    def adopt(self, name: str, version: int = 1, **more: Any) -> Contract:
        """Adopt it on the project's feature service."""
        said = {"feature_service": SERVICE, "fields": {"amount": "50"}} | more
        return adopt(self.tiny.settings, self.client, Adoption(model=name, version=version, **said))

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of version 1."""
        return dict(self.client.get_model_version(name, "1").tags)

    def serve(self, name: str, instance: dict[str, Any]) -> Any:
        """Promote version 1, bring it to this host, and ask it."""
        settings, now = self.tiny.settings, datetime.now(UTC)
        plan = plan_promotion(self.client, name, 1)
        release.apply(self.client, settings, plan, release_gates(settings, name, "promote"), "ann")
        shelf = Shelf(settings.home, name)
        follow(self.client, shelf, wanted_of(read_chain(self.client, name), {}), now)
        with pytest.MonkeyPatch.context() as patch:
            # A process has the metrics of one worker.
            patch.setattr("trivet.serving.worker.Metrics", MagicMock())
            patch.setattr("trivet.serving.worker.TrialMetrics", MagicMock())
            worker = Worker(name, settings.model_copy(update={"log_sample": 0.0}))
        try:
            answer = asyncio.run(
                worker.dataplane.predict([instance], lambda slot: slot.champion(), "id")
            )
        finally:
            worker.stop()
        (prediction,) = answer.document["predictions"]
        return prediction


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Place]:
    """Make it; each test registers a model of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "TRIVET_ROOT"):
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp("adopt")
        tiny = Tiny(root)
        now = datetime.now(UTC)
        tiny.learn(50, (now - timedelta(minutes=10)).replace(microsecond=0))
        store = root / "feature_repo" / "feature_store.yaml"
        store.write_text(store.read_text() + MLFLOW_IN_FEAST)
        tiny.apply()
        tiny.materialize(now)
        shutil.copyfile(empty_registry, root / "mlflow.db")
        client = connect(tiny.settings)
        client.create_experiment("theirs", (root / "theirs").as_uri())
        yield Place(tiny, client)


def frame(rows: int = 50) -> pd.DataFrame:
    """Return what the model was trained on: a column of each kind."""
    ages = np.arange(rows, dtype=float)
    return pd.DataFrame({"gross": 119.0, "age": ages, "purchases": np.arange(rows)})


def classifier() -> Any:
    """Return a fitted classifier whose classes are words."""
    rows = frame()
    words = np.where(rows.age > 20, "regular", "new")
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, words)


def test_a_classifier_of_mlflows_own_is_adopted_released_and_asked_by_key(place: Place) -> None:
    """As it was logged it names classes alone; its contract has their probabilities."""
    model = classifier()
    place.log(model, "plain", frame(), pip_requirements=None)
    contract = place.adopt("plain")
    assert contract.runtime.kind == "onnx", contract.runtime.reason
    assert contract.output.model_dump()["classes"] == ("new", "regular")
    assert [c.source for c in contract.columns] == [
        "on_demand:gross",
        "users:age",
        "users:purchases",
    ]
    assert len(contract.golden) == 5
    assert contract.golden[0].request["amount"] == 50.0
    assert contract.golden[0].request["user_id"].startswith("u000")
    assert place.tags("plain")["feast.feature_service"] == SERVICE
    found = place.serve("plain", KEY)
    expected = model.predict_proba(pd.DataFrame({"gross": [119.0], "age": [1.0], "purchases": [1]}))
    assert found["class_name"] == "new"
    assert list(found["probabilities"].values()) == pytest.approx(expected[0], abs=1e-6)
    again = mlflow.pyfunc.load_model("models:/plain/1").predict(frame().head(2))
    assert list(again) == ["new", "new"]


def test_what_feasts_own_integration_has_logged_is_adopted(place: Place) -> None:
    """`store.mlflow.log_model`, after a retrieval that it has noted."""
    store = place.tiny.open()
    place.tiny.settings.root.joinpath("x").mkdir(exist_ok=True)
    now = datetime.now(UTC)
    entities = pd.DataFrame({"user_id": [f"u{n:05}" for n in range(50)], "event_timestamp": now})
    entities["amount"] = 10.0
    service = store.get_feature_service(SERVICE)
    connect(place.tiny.settings)
    with store.mlflow.start_run(
        experiment_id=place.client.get_experiment_by_name("theirs").experiment_id
    ):
        rows = store.get_historical_features(entities, service).to_df()
        rows = rows[["age", "purchases", "gross"]]
        model = LinearRegression().fit(rows, rows.age * 2)
        store.mlflow.log_model(model, "of_feast", input_example=rows.head(3))
        run_id = store.mlflow.active_run_id
        logged = place.client.search_logged_models(
            [place.client.get_experiment_by_name("theirs").experiment_id],
            filter_string=f"source_run_id = '{run_id}'",
        )[0]
        store.mlflow.register_model(f"models:/{logged.model_id}", "of_feast")
    contract = place.adopt("of_feast", unit="years")
    assert contract.runtime.kind == "onnx", contract.runtime.reason
    assert place.serve("of_feast", KEY)["value"] == pytest.approx(2.0, abs=1e-5)


def test_a_model_that_cannot_be_compiled_is_served_by_pyfunc(place: Place) -> None:
    """By the very model; what it names alone, the contract has with probabilities."""
    rows = frame()
    model = make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression())
    model.fit(rows, rows.age > 20)
    place.log(model, "odd", rows, skops_trusted_types=["numpy.nan_to_num", "numpy.dtype"])
    contract = place.adopt("odd", classes=("no", "yes"))
    assert (contract.runtime.kind, bool(contract.runtime.reason)) == ("pyfunc", True)
    found = place.serve("odd", KEY)
    expected = model.predict_proba(pd.DataFrame({"gross": [119.0], "age": [1.0], "purchases": [1]}))
    assert found["class_name"] == "no"
    assert found["confidence"] == pytest.approx(expected.max(), abs=1e-6)


def test_every_column_that_differs_is_named_and_nothing_is_changed(place: Place) -> None:
    """A column that Feast lacks, unless the caller sends it; and one of another dtype."""
    rows = frame().assign(city_size=3.5, purchases=lambda f: f.purchases.astype(str))
    model = make_pipeline(FunctionTransformer(lambda f: f[["age"]]), LinearRegression())
    model.fit(rows, rows.age)
    place.log(
        model, "different", rows, serialization_format="cloudpickle", skops_trusted_types=None
    )
    source = place.client.get_model_version("different", "1").source
    before = sorted(place.tiny.root.rglob("*"))
    with pytest.raises(SignatureMismatch) as refused:
        place.adopt("different")
    found = [(d.column, d.aspect, d.contract, d.feast) for d in refused.value.differences]
    assert found == [
        ("purchases", "dtype", "string", "int64"),
        ("city_size", "feature", "double", "missing"),
    ]
    with pytest.raises(SignatureMismatch) as less:
        place.adopt("different", request=("city_size",))
    assert [d.column for d in less.value.differences] == ["purchases"]
    assert DIGEST_TAG not in place.tags("different")
    assert source == place.client.get_model_version("different", "1").source
    artifacts = [p for p in sorted(place.tiny.root.rglob("*")) if "theirs" in p.parts]
    assert artifacts == [p for p in before if "theirs" in p.parts]


def test_a_column_that_feast_lacks_is_sent_where_that_is_said(place: Place) -> None:
    """And one that is narrower than Feast's is made so before the model."""
    rows = frame().assign(city_size=np.float32(3.5), age=lambda f: f.age.astype("float32"))
    model = LinearRegression().fit(rows, rows.age * 2 + 1)
    place.log(model, "sent", rows)
    contract = place.adopt("sent", request=("city_size",))
    assert [c.name for c in contract.request_columns] == ["city_size", "amount"]
    assert "trivet/preprocess.py" in contract.files
    found = place.serve("sent", {**KEY, "city_size": 3.5})
    assert found["value"] == pytest.approx(3.0, abs=1e-4)


def test_artifacts_below_a_run_are_adopted_too(place: Place, tmp_path: Path) -> None:
    """As versions were registered before MLflow had logged models; with rows of a file."""
    rows = frame()
    model = LinearRegression().fit(rows, rows.age)
    mlflow.sklearn.save_model(
        model,
        tmp_path / "model",
        signature=mlflow.models.infer_signature(rows, model.predict(rows)),
        pip_requirements=["scikit-learn"],
    )
    experiment = place.client.get_experiment_by_name("theirs").experiment_id
    run = place.client.create_run(experiment)
    place.client.log_artifacts(run.info.run_id, str(tmp_path / "model"), "old/model")
    place.client.create_registered_model("below")
    source = f"runs:/{run.info.run_id}/old/model"
    place.client.create_model_version("below", source, run.info.run_id)
    with pytest.raises(AdoptionRefused, match="no input example"):
        place.adopt("below")
    rows.assign(user_id="u00003", amount=7.0).to_parquet(tmp_path / "rows.parquet")
    contract = place.adopt("below", rows=tmp_path / "rows.parquet", fields={})
    assert contract.golden[0].request == {"user_id": "u00003", "amount": 7.0}
    assert place.serve("below", KEY)["value"] == pytest.approx(1.0, abs=1e-5)


def test_an_adoption_that_was_interrupted_is_done_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the digest's tag is there, the version has no contract."""
    rows = frame()
    place.log(LinearRegression().fit(rows, rows.age), "interrupted", rows)

    def gone(*_: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(place.client, "set_model_version_tag", gone)
        with pytest.raises(Exception, match="gone"):
            place.adopt("interrupted")
    assert place.tags("interrupted") == {}
    contract = place.adopt("interrupted")
    assert place.tags("interrupted")[DIGEST_TAG] == contract.digest
    with pytest.raises(AdoptionRefused, match="has a contract already"):
        place.adopt("interrupted")


def test_an_adopted_version_is_carried_to_another_registry(
    place: Place, tmp_path: Path, empty_registry: Path
) -> None:
    """As any version with a contract."""
    rows = frame().assign(age=lambda f: f.age.astype("float32"))
    place.log(LinearRegression().fit(rows, rows.age), "carried", rows)
    contract = place.adopt("carried")
    shutil.copyfile(empty_registry, tmp_path / "mlflow.db")
    to = f"sqlite:///{tmp_path / 'mlflow.db'}"
    copied = copy_version(place.client, place.tiny.settings, "carried", 1, to)
    assert (copied.version, copied.digest) == (1, contract.digest)
    assert copied.new


def test_a_carried_version_is_held_against_the_features_of_its_new_place(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_registry: Path
) -> None:
    """Where a view expires later than in the contract, it is not released."""
    rows = frame()
    place.log(LinearRegression().fit(rows, rows.age), "moved", rows)
    place.adopt("moved")
    other = Tiny(tmp_path / "production")
    other.change("hours=2", "hours=3")
    other.apply()
    shutil.copyfile(empty_registry, other.root / "mlflow.db")
    to = f"sqlite:///{other.root / 'mlflow.db'}"
    copy_version(place.client, place.tiny.settings, "moved", 1, to)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", to)
        client = connect(other.settings)
        plan = plan_promotion(client, "moved", 1)
        gates = release_gates(other.settings, "moved", "promote")
        with pytest.raises(GatesRefused) as refused:
            release.apply(client, other.settings, plan, gates, "ann")
        assert [(d.column, d.aspect) for d in refused.value.differences] == [("users:*", "TTL")]
        other.define()
        other.apply()
        release.apply(client, other.settings, plan, gates, "ann")
        assert client.get_model_version_by_alias("moved", "champion").version in (1, "1")


def test_two_versions_of_the_same_artifacts_cannot_both_have_a_contract(place: Place) -> None:
    """The one would be overwritten by the other's."""
    rows = frame()
    place.log(LinearRegression().fit(rows, rows.age), "shared", rows)
    place.adopt("shared")
    source = place.client.get_model_version("shared", "1").source
    place.client.create_model_version("shared", source)
    with pytest.raises(AdoptionRefused, match="shares its artifacts with shared version 1"):
        place.adopt("shared", version=2)


def test_a_version_of_a_server_is_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_registry: Path
) -> None:
    """With every column sent by the caller, there is no Feast to ask."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    rows = frame()
    with mlflow_server(tmp_path, empty_registry) as url, monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", url)
        settings = Settings(root=tmp_path, home=tmp_path / ".trivet")
        client = connect(settings)
        with mlflow.start_run(experiment_id="0"):  # not the one that another test has set
            model = LinearRegression().fit(rows, rows.age)
            mlflow.sklearn.log_model(
                model,
                name="remote",
                registered_model_name="remote",
                input_example=rows.head(3),
                pip_requirements=["scikit-learn"],
            )
        contract = adopt(settings, client, Adoption(model="remote", version=1, unit="years"))
        assert {column.source for column in contract.columns} == {"request"}
        shelf = Shelf(settings.home, "remote")
        folder = shelf.path(fetch(client, "remote", 1, shelf))
        assert (folder / "model.onnx").exists()
        with pytest.raises(AdoptionRefused, match="has a contract already"):
            adopt(settings, client, Adoption(model="remote", version=1))
        source = client.get_model_version("remote", "1").source
        client.create_model_version("remote", source, model_id=source.removeprefix("models:/"))
        with pytest.raises(AdoptionRefused, match="shares its artifacts"):
            adopt(settings, client, Adoption(model="remote", version=2))


def test_wrong_names_are_refused_before_anything_else(place: Place) -> None:
    """The sentences have the right ones."""
    rows = frame()
    place.log(LinearRegression().fit(rows, rows.age), "named", rows)
    with pytest.raises(BadSetting, match="has no town; it has gross, age, purchases"):
        place.adopt("named", request=("town",))
    with pytest.raises(BadSetting, match="--field names city; a request has user_id, amount"):
        place.adopt("named", fields={"city": "Rome"})
    with pytest.raises(AdoptionRefused, match="no feature service nothing"):
        place.adopt("named", feature_service="nothing")
    with pytest.raises(AdoptionRefused, match="Nobody says what amount"):
        place.adopt("named", fields={})
    assert parse_uri(place.client, "models:/named/1") == ("named", 1)


def test_the_command_says_what_comes_from_where(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And as JSON, what was made."""
    rows = frame()
    place.log(LinearRegression().fit(rows, rows.age), "typed", rows)
    monkeypatch.chdir(place.tiny.root)
    command = ["trivet", "adopt", "models:/typed/1", "--feature-service", SERVICE]
    monkeypatch.setattr(sys, "argv", [*command, "--field", "amount=5", "--unit", "years", "--json"])
    capsys.readouterr()
    cli.main()
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["version"], said["runtime"]["kind"]) == ("typed", 1, "onnx")
    assert said["contract_digest"] == place.tags("typed")[DIGEST_TAG]


def test_a_classifier_of_words_is_compiled_by_the_positions_of_its_classes() -> None:
    """If it looks its classes up where most do; else it says so, and is served as it is."""
    rows = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    words = ["no", "no", "yes", "yes"]
    plain = LogisticRegression().fit(rows, words)
    assert list(_numbered(plain, rows).predict(rows)) == [0, 0, 1, 1]
    assert list(plain.predict(rows)) == words
    voting = VotingClassifier([("one", LogisticRegression())]).fit(rows, words)
    with pytest.raises(TypeError, match="VotingClassifier looks them up elsewhere"):
        _numbered(voting, rows)
