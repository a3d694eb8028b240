"""Change which version answers: pass the gates, then apply the very plan.

Live is the last release that the ledger accepted; the alias `champion` follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trivet.clock import Clock, system_clock
from trivet.errors import ReleaseRefused
from trivet.registry import canary, claim, ledger
from trivet.registry.gate import Examination, GateReport, Gates, examine
from trivet.registry.ledger import Release
from trivet.registry.plan import Plan, plan_acceptance
from trivet.registry.proposal import Proposal
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


def rehearse(
    client: MlflowClient,
    settings: Settings,
    plan: Plan,
    gates: Gates,
    on_report: Callable[[GateReport], None] = lambda _: None,
) -> Examination:
    """Ask the gates of the very plan that `apply` would carry out; writes nothing.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    with Proposal(client, settings, plan) as proposal:
        return examine(proposal, gates, on_report)


def apply(  # noqa: PLR0917 - each is a fact of the release
    client: MlflowClient,
    settings: Settings,
    plan: Plan,
    gates: Gates,
    who: str,
    reason: str = "",
    clock: Clock = system_clock,
    *,
    force: bool = False,
    on_report: Callable[[GateReport], None] = lambda _: None,
) -> Release:
    """Pass the gates and carry the plan out; before the gates have passed, nothing is written.

    A release before it that was interrupted is finished first.

    Args:
        client: of the registry.
        settings: say where new experiments keep their artifacts.
        plan: what is to be done.
        gates: by the name under which the ledger reports them.
        who: releases.
        reason: why.
        clock: dates the release.
        force: go on though gates refused, unless a refusal is final; needs a reason.
        on_report: told of each gate as it is done.

    Raises:
        GatesRefused: gates refused; alias and ledger are as they were.
        FeaturesUnavailable: a gate could not look at the features.
        ReleaseRefused: force without a reason.
        ReleaseConflict: somebody else's release came after the plan was made.
        RegistryDenied: this account may not release; alias and ledger are as they were.
        RegistryUnavailable: MLflow does not answer; the next command finishes what was claimed.
    """
    if force and not reason.strip():
        raise ReleaseRefused("A release is forced for a reason, and none was given.")
    examination = rehearse(client, settings, plan, gates, on_report)
    examination.judge(force=force)
    claim.ask_leave(client, plan.model)
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
        report=_report(plan, examination),
        forced=examination.refused,
        gates_seconds=examination.seconds,
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


def _report(plan: Plan, examination: Examination) -> dict[str, object]:
    return {
        "contract_digest": plan.digest,
        "gates": [report.document() for report in examination.reports],
        "forced": list(examination.refused),
        "seconds": round(examination.seconds, 3),
        "changes": list(plan.changes),
    }
