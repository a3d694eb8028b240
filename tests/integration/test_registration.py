"""A model becomes a version that answers as it did itself, by ONNX where that was proven."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml
from skl2onnx.sklapi import CastTransformer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

import trivet
from trivet.contract import Classification, Column, Contract, parse_contract
from trivet.live import CONTRACT, Shelf
from trivet.registry.client import connect
from trivet.registry.download import fetch
from trivet.registry.pyfunc import PyfuncPredictor
from trivet.registry.versions import list_versions
from trivet.serving.loaded import Version, load_version
from trivet.settings import Settings
from trivet.training.candidate import TRUSTED_TYPES

COLUMNS = (
    Column(name="age", source="request", dtype="float64", absent="null"),
    Column(name="income", source="request", dtype="float64"),
    Column(name="city", source="request", dtype="string"),
)
OUTPUT = Classification(classes=("no", "yes"))


def frame(rows: int = 400) -> pd.DataFrame:
    """Return held-out rows."""
    random = np.random.default_rng(0)
    ages = random.normal(40, 10, rows)
    ages[::5] = np.nan
    cities = random.choice(["Rome", "Oslo"], rows)
    return pd.DataFrame({"age": ages, "income": random.normal(5, 2, rows), "city": cities})


def pipeline(*steps: Any) -> Pipeline:
    """Return a fitted pipeline behind an encoder."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    chosen = ColumnTransformer([("city", encoder, ["city"])], remainder="passthrough")
    rows = frame()
    return make_pipeline(chosen, *steps).fit(rows, (rows["income"] > 5).astype(int))


class Registered:
    """A version, brought to this host."""

    def __init__(self, root: Path, estimator: Pipeline, **more: Any) -> None:
        """Register it."""
        settings = Settings(root=root, home=root / ".trivet")
        candidate = trivet.Candidate(
            model="customers",
            estimator=estimator,
            columns=COLUMNS,
            output=OUTPUT,
            bento=root,
            **{"held_out": frame(), **more},
        )
        self.number = trivet.register(settings, candidate)
        client = connect(settings)
        shelf = Shelf(settings.home, "customers")
        self.folder = shelf.path(fetch(client, "customers", self.number, shelf))
        self.listed = list_versions(client, "customers")

    @property
    def contract(self) -> Contract:
        """Its contract."""
        return parse_contract((self.folder / CONTRACT).read_bytes())

    def load(self) -> Version:
        """Load it as a worker does, which verifies its golden rows."""

        def no_features(contract: Contract) -> Any:
            raise AssertionError(contract.model)

        return load_version(self.number, self.folder, no_features)


@pytest.fixture
def root(tmp_path: Path, empty_registry: Path) -> Path:
    """Return the folder of a project with an empty registry."""
    shutil.copyfile(empty_registry, tmp_path / "mlflow.db")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "library"),
    [
        (HistGradientBoostingClassifier(max_iter=5), None),
        (lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1), "lightgbm"),
        (xgboost.XGBClassifier(n_estimators=5, n_jobs=1), "xgboost"),
    ],
    ids=["scikit-learn", "LightGBM", "XGBoost"],
)
def test_a_boosted_model_is_served_by_onnx_and_read_by_pyfunc(
    root: Path, model: Any, library: str | None
) -> None:
    """Stored by skops, without pickle, with the evidence in the contract."""
    estimator = pipeline(CastTransformer(), model)
    version = Registered(root, estimator)
    contract = version.contract
    assert contract.runtime.kind == "onnx"
    parity = contract.runtime.parity
    assert parity is not None
    assert (parity.held_out_rows, parity.drawn_rows, parity.label_mismatches) == (400, 9600, 0)
    assert parity.adversarial_rows["threshold"] > 0
    assert parity.precision == ("single" if library == "xgboost" else "double")
    assert set(contract.files) == {"model.onnx", "model.skops"}
    said = yaml.safe_load((version.folder / "MLmodel").read_text())
    assert said["flavors"]["sklearn"]["serialization_format"] == "skops"
    required = (version.folder / "requirements.txt").read_text()
    assert "skl2onnx==" in required
    assert library is None or f"{library}" in required
    version.load()
    rows = frame(20)
    found = PyfuncPredictor(version.folder, OUTPUT).predict(dict(rows.items()))
    np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(rows), atol=1e-6)


def test_a_model_that_cannot_be_compiled_is_served_by_pyfunc(root: Path) -> None:
    """Its contract says why, and its golden rows hold."""
    estimator = pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression())
    version = Registered(
        root,
        estimator,
        skops_trusted_types=(*TRUSTED_TYPES, "numpy.nan_to_num"),
    )
    runtime = version.contract.runtime
    assert (runtime.kind, runtime.parity) == ("pyfunc", None)
    assert runtime.reason
    assert set(version.contract.files) == {"model.skops"}
    version.load()


def test_a_model_that_differs_on_odd_rows_alone_is_served_by_pyfunc(root: Path) -> None:
    """Its encoder of whole numbers is compiled to one that takes 0.5 for 0."""
    rows = frame().assign(income=lambda rows: np.round(rows["income"]))
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    chosen = ColumnTransformer([("income", encoder, ["income"])])
    estimator = make_pipeline(chosen, LogisticRegression()).fit(rows, rows["income"] > 5)
    version = Registered(root, estimator, held_out=rows)
    runtime = version.contract.runtime
    assert runtime.kind == "pyfunc"
    assert "labels differ" in (runtime.reason or "")
    assert runtime.parity is not None
    assert runtime.parity.max_difference > runtime.parity.tolerance
    assert len(version.contract.golden) == 8
    version.load()
