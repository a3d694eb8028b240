"""A classifier of a few trees, small enough to be registered in a tenth of a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from trivet.contract import Classification, Column, Contract, Regression, Runtime
from trivet.errors import Difference
from trivet.registry.gate import Verdict
from trivet.registry.register import Submission, log_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from trivet.registry.proposal import Proposal
    from trivet.settings import Settings

MODEL = "toy"
FRAME = pd.DataFrame({"age": np.arange(50.0), "purchases": np.arange(50) % 7})
LATE = (FRAME.age > 20).astype(int) + (FRAME.age > 40).astype(int)


_AS_THEY_ARE = """

def preprocess(columns):
    return columns
"""


def submission(trees: int, folder: Path) -> Submission:
    """Return a three-class classifier with a preprocess step of its own."""
    preprocess = folder / f"preprocess_{trees}.py"
    preprocess.write_text(f"TREES = {trees}\n{_AS_THEY_ARE}")
    return Submission(
        contract=contract(Classification(classes=("low", "medium", "high"))),
        estimator=RandomForestClassifier(trees, random_state=trees).fit(FRAME, LATE),
        example=FRAME.head(3),
        preprocess=preprocess,
        metrics={"accuracy": 0.5 + trees / 10},
        params={"trees": str(trees)},
        tags={"feast.feature_service": "toy_v1"},
        documents={"feast_features.json": {"features": ["users:age"]}},
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )


def regression(folder: Path) -> Submission:
    """Return a regressor of the same inputs, without steps around it."""
    del folder
    return Submission(
        contract=contract(Regression(unit="years")),
        estimator=RandomForestRegressor(2, random_state=0).fit(FRAME, FRAME.age),
        example=FRAME.head(3),
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )


def contract(output: Classification | Regression) -> Contract:
    """Return a contract of two request columns."""
    return Contract(
        model=MODEL,
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=(
            Column(name="age", source="request", dtype="float64"),
            Column(name="purchases", source="request", dtype="int64"),
        ),
        lead_seconds=0,
        output=output,
        runtime=Runtime(kind="pyfunc", reason="it is a toy"),
        files={},
        libraries={"scikit-learn": "1.9.1"},
        golden=(),
    )


def register(client: MlflowClient, settings: Settings, trees: int) -> int:
    """Register one version and return its number."""
    return log_version(client, settings, submission(trees, settings.root), f"{trees} trees")


def refuse(proposal: Proposal) -> Verdict:
    """Be a gate that finds one column of another dtype."""
    column = proposal.contract.columns[0].name
    found = Difference(column=column, aspect="dtype", contract="float64", feast="int64")
    return Verdict(passed=False, sentences=("It does not fit.",), differences=(found,))
