"""Change which version answers: pass the gates, then apply the very plan.

Live is the last release that the ledger accepted; the alias `champion` follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from trivet.clock import Clock, system_clock
from trivet.contract import Contract
from trivet.errors import ContractMismatch, Difference
from trivet.registry import canary, claim, ledger
from trivet.registry.ledger import Release
from trivet.registry.plan import Plan, plan_acceptance
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

Gate = Callable[[Contract], Sequence[Difference]]
"""Says in what a contract does not hold now; nothing: it holds."""

Gates = Mapping[str, Gate]
"""Gates by the name under which the ledger reports them."""


def apply(  # noqa: PLR0917 - each is a fact of the release
    client: MlflowClient,
    settings: Settings,
    plan: Plan,
    gates: Gates,
    who: str,
    reason: str = "",
    clock: Clock = system_clock,
) -> Release:
    """Pass the gates and carry the plan out; before the gates have passed, nothing is written.

    A release before it that was interrupted is finished first.

    Raises:
        ContractMismatch: a gate found differences; alias and ledger are as they were.
        ReleaseConflict: somebody else's release came after the plan was made.
        RegistryUnavailable: MLflow does not answer; the next command finishes what was claimed.
    """
    found = {name: tuple(gate(plan.contract)) for name, gate in gates.items()}
    if differences := [difference for each in found.values() for difference in each]:
        raise ContractMismatch(plan.model, plan.to_version, differences)
    after = _predecessor(client, settings, plan, clock)
    entry = claim.Entry(
        model=plan.model,
        action=plan.action,
        from_version=plan.from_version,
        to_version=plan.to_version,
        steps=plan.steps,
        who=who,
        reason=reason,
        at=clock(),
        report=_report(plan, found),
    )
    done = claim.write(client, settings, entry, after)
    canary.end_outlived(client, settings, plan.model, done, who, clock)
    return done


def accept(
    client: MlflowClient,
    settings: Settings,
    model: str,
    gates: Gates,
    clock: Clock = system_clock,
) -> Release:
    """Make a release of an alias that was moved by hand, if its version passes the gates.

    Raises:
        As `plan_acceptance` and `apply`.
    """
    plan = plan_acceptance(client, model)
    reason = f"The alias {claim.CHAMPION} was moved in MLflow."
    return apply(client, settings, plan, gates, "somebody in MLflow", reason, clock)


def mend(client: MlflowClient, model: str) -> bool:
    """Finish the ledger's newest release if it was interrupted, and say whether it was.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    newest = ledger.unfinished(ledger.read_chain(client, model))
    if newest is None:
        return False
    claim.finish(client, model, newest)
    return True


def _predecessor(client: MlflowClient, settings: Settings, plan: Plan, clock: Clock) -> Release:
    if plan.after is None:
        return claim.open_ledger(client, settings, plan.model, clock())
    after = ledger.read_release(client, plan.after)
    if not after.finished:
        return claim.finish(client, plan.model, after)
    return after


def _report(plan: Plan, found: Mapping[str, Sequence[Difference]]) -> dict[str, object]:
    gates = [
        {"gate": name, "passed": not each, "differences": [asdict(one) for one in each]}
        for name, each in found.items()
    ]
    return {"contract_digest": plan.digest, "gates": gates, "changes": list(plan.changes)}
