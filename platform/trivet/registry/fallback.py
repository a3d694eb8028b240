"""Which earlier champion a rollback could still return to, when the one that was meant is no use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trivet.contract import Contract
from trivet.errors import ContractUnreadable, UnknownModel, VersionCorrupt
from trivet.registry import ledger
from trivet.registry.download import read_contract

if TYPE_CHECKING:
    from mlflow import MlflowClient

Fits = Callable[[Contract], bool]
"""Says whether a contract still fits the features."""


def newest_fitting(
    client: MlflowClient, model: str, released: Sequence[int], steps: int, fits: Fits
) -> str:
    """Look for a champion before the one of `steps` releases ago, and say what to do.

    Args:
        client: of the registry.
        model: the registered model's name.
        released: the ledger's stack, oldest first.
        steps: how far back the champion is that is no use.
        fits: asked of each version that still exists, newest first, until one does.

    Raises:
        RegistryUnavailable: MLflow does not answer.
        FeaturesUnavailable: the features that a contract names cannot be looked at.
    """
    unfit = {released[-1 - steps]}
    for further in range(steps + 1, len(released)):
        version = released[-1 - further]
        if version in unfit:
            continue
        if version != released[-1] and _fits(client, model, version, fits):
            return (
                f"Version {version}, champion {ago(further)}, still fits: "
                f"trivet rollback {model} --steps {further}."
            )
        unfit.add(version)
    return f"No earlier champion of {model} still exists and fits; promote another version."


def fitting_after(client: MlflowClient, model: str, steps: int, fits: Fits) -> str:
    """Do the same by the ledger as it is now."""
    released = ledger.stack(ledger.read_chain(client, model))
    return newest_fitting(client, model, released, steps, fits)


def ago(steps: int) -> str:
    """Return how far back that is, in words."""
    return f"{count(steps)} ago"


def count(releases: int) -> str:
    """Return a number of releases in words."""
    return f"{releases or 'no'} release{'' if releases == 1 else 's'}"


def _fits(client: MlflowClient, model: str, version: int, fits: Fits) -> bool:
    try:
        return fits(read_contract(client, model, version))
    except (ContractUnreadable, UnknownModel, VersionCorrupt):
        return False
