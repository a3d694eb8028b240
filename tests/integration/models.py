"""Small fitted pipelines of every kind that is compiled, on numbers and texts with missing values."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from skl2onnx.sklapi import CastTransformer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from trivet.columns import Columns
from trivet.contract import Classification, Column, Regression
from trivet.runtime.estimator import EstimatorPredictor
from trivet.runtime.parity import Proof, gather_proof

TWO = Classification(classes=("no", "yes"))
THREE = Classification(classes=("low", "medium", "high"))
EUR = Regression(unit="EUR")

ROWS = 600
COLUMNS = (
    Column(name="age", source="request", dtype="float64", absent="null"),
    Column(name="segment", source="request", dtype="string", absent="null"),
    Column(name="income", source="request", dtype="float64"),
    Column(name="visits", source="request", dtype="int64", absent="null"),
    Column(name="city", source="request", dtype="string"),
    Column(name="orders", source="request", dtype="int64"),
)
NUMBERS = ["age", "income", "visits", "orders"]
TEXTS = ["segment", "city"]


@cache
def held_out() -> dict[str, np.ndarray]:
    """Return rows as they come to preprocess: NaN and None where the policy is null."""
    random = np.random.default_rng(0)
    visits = random.integers(0, 9, ROWS).astype(float)
    visits[::7] = np.nan
    age = random.normal(40, 10, ROWS)
    age[::5] = np.nan
    return {
        "age": age,
        "segment": random.choice(np.array(["gold", "silver", None], dtype=object), ROWS),
        "income": random.normal(5, 2, ROWS),
        "visits": visits,
        "city": random.choice(np.array(["Rome", "Oslo", "Bonn"], dtype=object), ROWS),
        "orders": random.integers(0, 50, ROWS),
    }


def target(output: Classification | Regression) -> np.ndarray:
    """Return what the columns tell: classes 0..k-1, or a number."""
    rows = held_out()
    worth = rows["income"] + np.nan_to_num(rows["age"], nan=40) / 10 + (rows["segment"] == "gold")
    if isinstance(output, Regression):
        return worth * 100
    return np.digitize(worth, np.quantile(worth, [0.4, 0.8][: len(output.classes) - 1]))


def pipeline(
    model: Any, *between: Any, numbers: Any = "passthrough", texts: Any = None
) -> Pipeline:
    """Return texts encoded, numbers beside them, and a model behind."""
    encoder = texts or OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("texts", encoder, TEXTS), ("numbers", numbers, NUMBERS)])
    return make_pipeline(columns, *between, model)


SMALL = {"n_estimators": 8, "random_state": 0}
HIST = {"max_iter": 8, "random_state": 0}
LIGHT = {"n_estimators": 8, "verbose": -1, "n_jobs": 1, "random_state": 0}
EXTREME = {"n_estimators": 8, "n_jobs": 1, "random_state": 0}

KINDS: dict[str, tuple[Callable[[], Any], Classification | Regression]] = {
    "histogram boosting, three classes": (
        lambda: pipeline(HistGradientBoostingClassifier(**HIST)),
        THREE,
    ),
    "histogram boosting, two classes, cast": (
        lambda: pipeline(HistGradientBoostingClassifier(**HIST), CastTransformer()),
        TWO,
    ),
    "histogram boosting, ordinal texts": (
        lambda: pipeline(
            HistGradientBoostingClassifier(**HIST),
            texts=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
        ),
        THREE,
    ),
    "histogram boosting, regression": (
        lambda: pipeline(HistGradientBoostingRegressor(**HIST)),
        EUR,
    ),
    "imputer and forest": (
        lambda: pipeline(RandomForestClassifier(**SMALL), numbers=SimpleImputer()),
        THREE,
    ),
    "imputed texts and forest": (
        lambda: pipeline(
            RandomForestClassifier(**SMALL),
            numbers=SimpleImputer(strategy="median"),
            texts=make_pipeline(
                SimpleImputer(strategy="constant", fill_value="none", missing_values=None),
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            ),
        ),
        TWO,
    ),
    "forest that takes nulls": (lambda: pipeline(RandomForestClassifier(**SMALL)), THREE),
    "forest, regression": (
        lambda: pipeline(RandomForestRegressor(**SMALL), CastTransformer()),
        EUR,
    ),
    "extra trees": (
        lambda: pipeline(ExtraTreesClassifier(**SMALL), numbers=SimpleImputer()),
        TWO,
    ),
    "gradient boosting": (
        lambda: pipeline(GradientBoostingClassifier(**SMALL), numbers=SimpleImputer()),
        THREE,
    ),
    "calibrated forest": (
        lambda: pipeline(
            CalibratedClassifierCV(RandomForestClassifier(**SMALL), cv=2), numbers=SimpleImputer()
        ),
        THREE,
    ),
    "logistic regression, three classes": (
        lambda: pipeline(LogisticRegression(), StandardScaler(), numbers=SimpleImputer()),
        THREE,
    ),
    "logistic regression, two classes": (
        lambda: pipeline(LogisticRegression(), StandardScaler(), numbers=SimpleImputer()),
        TWO,
    ),
    "ridge": (lambda: pipeline(Ridge(), StandardScaler(), numbers=SimpleImputer()), EUR),
    "LightGBM, three classes": (lambda: pipeline(lightgbm.LGBMClassifier(**LIGHT)), THREE),
    "LightGBM, two classes, cast": (
        lambda: pipeline(lightgbm.LGBMClassifier(**LIGHT), CastTransformer()),
        TWO,
    ),
    "LightGBM, regression": (lambda: pipeline(lightgbm.LGBMRegressor(**LIGHT)), EUR),
    "XGBoost, three classes": (lambda: pipeline(xgboost.XGBClassifier(**EXTREME)), THREE),
    "XGBoost, two classes": (lambda: pipeline(xgboost.XGBClassifier(**EXTREME)), TWO),
    "XGBoost, regression": (
        lambda: pipeline(xgboost.XGBRegressor(**EXTREME), CastTransformer()),
        EUR,
    ),
}


@cache
def fitted(kind: str) -> tuple[Any, Classification | Regression]:
    """Return a fitted pipeline of a kind, and its output."""
    make, output = KINDS[kind]
    return fit(make(), held_out(), target(output)), output


def fit(estimator: Any, rows: Columns, truth: np.ndarray) -> Any:
    """Fit on the frame that preprocess gives."""
    with warnings.catch_warnings():
        # LightGBM fits without names inside a pipeline, and says so; not of interest here.
        warnings.simplefilter("ignore")
        return estimator.fit(pd.DataFrame(dict(rows)), truth)


def prove(estimator: Any, output: Classification | Regression) -> Proof:
    """Gather the rows of a proof."""
    model = EstimatorPredictor(estimator, output)
    return gather_proof(estimator, model, COLUMNS, held_out(), lambda columns: columns)
