"""A proposal without MLflow: two versions of a shop's model, as a gate sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trivet.contract import Contract
from trivet.registry.evaluation import Evaluation
from trivet.registry.plan import Plan
from trivet.settings import Settings
from unit import fakes


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
