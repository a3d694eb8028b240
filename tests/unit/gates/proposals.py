"""A proposal without MLflow: two versions of a shop's model, as a gate sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from trivet.contract import Contract, Parity, Runtime
from trivet.live import CONTRACT
from trivet.registry.evaluation import Evaluation
from trivet.registry.plan import Plan
from trivet.runtime.compile import compile_with_parity
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.pipeline import Pipeline, golden_row
from trivet.settings import Settings
from unit import fakes, models


def evaluated(digest: str | None = "d1", rows: int = 100, **metrics: float) -> Evaluation:
    """Return an evaluation."""
    return Evaluation(metrics=metrics, digest=digest, rows=rows)


@dataclass(kw_only=True)
class FakeProposal:
    """What `registry.proposal.Proposal` offers, of what a test gives it."""

    home: Path
    contract: Contract = field(default_factory=fakes.shop)
    action: str = "promote"
    champion: int | None = 1
    folder: Path = Path("/nonexistent")
    champion_folder: Path | None = None
    champion_contract: Contract | None = None
    evaluation: Evaluation = field(default_factory=evaluated)
    champion_evaluation: Evaluation | None = None
    held_out: Path = Path("/nonexistent")
    left: str = "Version 1, champion 2 releases ago, still fits."

    @property
    def settings(self) -> Settings:
        """Of a project in the proposal's folder."""
        return Settings(root=self.home, home=self.home / ".trivet")

    @property
    def plan(self) -> Plan:
        """Version 2 after the champion."""
        return Plan(
            model=self.contract.model,
            action=self.action,  # type: ignore[arg-type]
            from_version=self.champion,
            to_version=2,
            steps=1,
            contract=self.contract,
            after=None,
            alias=self.champion,
            changes=(),
        )

    def newest_fitting(self, fits: Any) -> str:
        """Say what is left."""
        return self.left


def stored_version(folder: Path, kind: str = "logistic regression, three classes") -> Contract:
    """Write a small compiled version with golden rows, as it lies on a host; return its contract."""
    estimator, output = models.fitted(kind)
    compiled = compile_with_parity(estimator, models.prove(estimator, output), output)
    assert compiled.model is not None
    rows = {name: values[:3] for name, values in models.held_out().items()}
    pipeline = Pipeline(OnnxPredictor(compiled.model, output), output)
    predictions = pipeline.run(rows).predictions
    contract = Contract(
        model="shop",
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=models.COLUMNS,
        lead_seconds=0,
        output=output,
        runtime=Runtime(kind="onnx", parity=Parity.model_validate(compiled.parity)),
        files={},
        libraries={},
        golden=tuple(
            golden_row(
                asked_at=fakes.NOON,
                request={},
                features={name: values[n] for name, values in rows.items()},
                prediction=prediction,
            )
            for n, prediction in enumerate(predictions)
        ),
    )
    (folder / "trivet").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(compiled.model)
    (folder / CONTRACT).write_text(contract.to_json())
    return contract


def frame() -> pd.DataFrame:
    """Return the held-out rows of the small models."""
    return pd.DataFrame(models.held_out())
