"""Plan a release: everything that it would do, found out without writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trivet.contract import Contract
from trivet.errors import ContractUnreadable, ReleaseRefused, UnknownModel, VersionCorrupt
from trivet.registry import ledger
from trivet.registry.claim import CHAMPION
from trivet.registry.download import read_contract
from trivet.registry.fallback import Fits, ago, count, newest_fitting
from trivet.registry.ledger import Action, Release
from trivet.registry.versions import existing_versions, read_aliases

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a release would do. `apply` does exactly this or nothing."""

    model: str
    action: Action
    from_version: int | None
    to_version: int
    steps: int
    contract: Contract
    """Of `to_version`."""
    after: str | None
    """Run id of the ledger's newest entry as planned; None before the first release."""
    alias: int | None
    """Where the alias `champion` points now; unlike `from_version` if it was moved by hand."""
    changes: tuple[str, ...]
    """What would change, in sentences."""

    @property
    def digest(self) -> str:
        """The digest of the contract that would go live."""
        return self.contract.digest

    def document(self) -> dict[str, object]:
        """Return it as JSON has it, the contract by its digest."""
        return {
            "model": self.model,
            "action": self.action,
            "from_version": self.from_version,
            "to_version": self.to_version,
            "steps": self.steps,
            "contract_digest": self.digest,
            "alias": self.alias,
            "changes": list(self.changes),
        }


def plan_promotion(client: MlflowClient, model: str, version: int) -> Plan:
    """Plan to make a version the champion; writes nothing.

    Raises:
        UnknownModel: there is no such version; the sentence names those that exist.
        ContractUnreadable: it has no contract.
        VersionCorrupt: its contract is not the one it was registered with.
        ReleaseRefused: it is the champion already.
        RegistryUnavailable: MLflow does not answer.
    """
    contract = read_contract(client, model, version)
    chain = ledger.read_chain(client, model)
    if ledger.stack(chain)[-1:] == (version,):
        raise ReleaseRefused(f"{model} version {version} is the champion already.")
    return _plan(client, "promote", contract, chain, version)


def plan_rollback(
    client: MlflowClient, model: str, *, steps: int = 1, fits: Fits = lambda _: True
) -> Plan:
    """Plan to return to the version that was champion `steps` releases ago; writes nothing.

    Args:
        client: of the registry.
        model: the registered model's name.
        steps: how many releases to go back.
        fits: asked of earlier champions where that version was deleted, to name one that is left.

    Raises:
        ReleaseRefused: there is none, or it was deleted; the hint names the newest that fits.
        ContractUnreadable, VersionCorrupt, UnknownModel, RegistryUnavailable: as for a promotion.
    """
    chain = ledger.read_chain(client, model)
    released = ledger.stack(chain)
    if len(released) <= steps:
        raise ReleaseRefused(_nothing_before(model, released, steps))
    version = released[-1 - steps]
    if version not in existing_versions(client, model):
        raise ReleaseRefused(
            f"{model} version {version}, champion {ago(steps)}, was deleted.",
            hint=newest_fitting(client, model, released, steps, fits),
        )
    contract = read_contract(client, model, version)
    return replace(_plan(client, "rollback", contract, chain, version), steps=steps)


def plan_acceptance(client: MlflowClient, model: str) -> Plan:
    """Plan to take the version that the alias was moved to by hand as a release; writes nothing.

    Raises:
        ReleaseRefused: the alias says what the ledger says, or is not set.
        ContractUnreadable, VersionCorrupt, UnknownModel, RegistryUnavailable: as for a promotion.
    """
    version = read_aliases(client, model).get(CHAMPION)
    chain = ledger.read_chain(client, model)
    if version is None or ledger.stack(chain)[-1:] == (version,):
        raise ReleaseRefused(f"The alias {CHAMPION} of {model} was not moved by hand.")
    return _plan(client, "accept", read_contract(client, model, version), chain, version)


def contract_changes(before: Contract, after: Contract) -> Iterator[str]:
    """Say what a caller or an operator would notice between two versions' contracts."""
    if before.feature_service != after.feature_service:
        yield f"feature service: {before.feature_service} -> {after.feature_service}"
    if before.runtime.kind != after.runtime.kind:
        yield f"runtime: {before.runtime.kind} -> {after.runtime.kind}"
    if before.output != after.output:
        yield f"output: {before.output} -> {after.output}"
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"column {name}: no longer needed"
        elif name not in old:
            yield f"column {name}: new, from {new[name].source}"
        elif old[name] != new[name]:
            yield f"column {name}: {old[name]} -> {new[name]}"


def _plan(
    client: MlflowClient,
    action: Action,
    contract: Contract,
    chain: Sequence[Release],
    version: int,
) -> Plan:
    champion = next(iter(ledger.stack(chain)[-1:]), None)
    return Plan(
        model=contract.model,
        action=action,
        from_version=champion,
        to_version=version,
        steps=1,
        contract=contract,
        after=chain[-1].run_id if chain else None,
        alias=read_aliases(client, contract.model).get(CHAMPION),
        changes=tuple(_changes(client, contract, champion, version)),
    )


def _changes(
    client: MlflowClient, contract: Contract, champion: int | None, version: int
) -> list[str]:
    lines = [f"champion: {champion if champion is not None else 'none'} -> {version}"]
    if champion is None:
        return lines
    try:
        before = read_contract(client, contract.model, champion)
    except (ContractUnreadable, UnknownModel, VersionCorrupt):
        return [*lines, f"the contract of version {champion} cannot be read any more"]
    return [*lines, *contract_changes(before, contract)]


def _nothing_before(model: str, released: Sequence[int], steps: int) -> str:
    if not released:
        return f"{model} has no champion yet, so there is nothing to roll back."
    before = len(released) - 1
    return (
        f"{model} has nothing to return to {ago(steps)}: "
        f"before version {released[-1]} the ledger has {count(before)}."
    )
