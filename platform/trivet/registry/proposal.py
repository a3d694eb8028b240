"""A release that is proposed: the plan, and whatever a gate may want to see of both versions."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trivet.contract import Contract
from trivet.registry.download import bring, read_contract
from trivet.registry.evaluation import Evaluation, bring_held_out, read_evaluation
from trivet.registry.fallback import Fits, fitting_after
from trivet.registry.plan import Plan
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Proposal:
    """What gates judge; a context manager, whose folder goes at its end.

    What has to be brought from MLflow is brought when it is first asked for, once, and anew: a copy
    that this host happens to have says nothing of what the other hosts will get.
    """

    def __init__(self, client: MlflowClient, settings: Settings, plan: Plan) -> None:
        """Nothing is read yet."""
        self._client = client
        self.settings = settings
        self.plan = plan
        """What would change: model, action, `from_version`, `to_version` and the contract."""
        self._temporary = tempfile.TemporaryDirectory(prefix="trivet-release-")

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Remove what was brought."""
        self._temporary.cleanup()

    @property
    def contract(self) -> Contract:
        """Of the version that would go live."""
        return self.plan.contract

    @property
    def home(self) -> Path:
        """A folder for files of this proposal, removed with it."""
        return Path(self._temporary.name)

    @cached_property
    def folder(self) -> Path:
        """The files of the version that would go live, verified.

        Raises:
            VersionCorrupt: one is missing, or not the one that the contract names.
        """
        return self._bring(self.plan.to_version)

    @cached_property
    def champion_folder(self) -> Path | None:
        """The files of the present champion, verified; None before the first release."""
        champion = self.plan.from_version
        return None if champion is None else self._bring(champion)

    @cached_property
    def champion_contract(self) -> Contract | None:
        """The contract of the present champion; None before the first release."""
        champion = self.plan.from_version
        return None if champion is None else read_contract(self._client, self.plan.model, champion)

    @cached_property
    def evaluation(self) -> Evaluation:
        """What was measured of the version when it was registered."""
        return read_evaluation(self._client, self.plan.model, self.plan.to_version)

    @cached_property
    def champion_evaluation(self) -> Evaluation | None:
        """What was measured of the present champion; None before the first release."""
        champion = self.plan.from_version
        if champion is None:
            return None
        return read_evaluation(self._client, self.plan.model, champion)

    @cached_property
    def held_out(self) -> Path:
        """The held-out rows and labels of the version, as Parquet; see `registry.evaluation`.

        Raises:
            VersionCorrupt: none were stored, or they are gone.
        """
        return bring_held_out(self._client, self.plan.model, self.plan.to_version, self.home)

    def newest_fitting(self, fits: Fits) -> str:
        """Say which champion before the one that a rollback means still fits; see `fallback`."""
        return fitting_after(self._client, self.plan.model, self.plan.steps, fits)

    def _bring(self, version: int) -> Path:
        return bring(self._client, self.plan.model, version, self.home / f"version-{version}")
