"""Begin and end a canary or a shadow: checked as a release is, and written to the ledger's chain.

Their state is a tag on the registered model. The ledger says who began and ended them, when and why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trivet.canary.state import TAGS, Kind, State, kind_of, parse_state, to_tag
from trivet.clock import Clock, system_clock
from trivet.contract import Contract
from trivet.errors import BadTrial, TrivetError
from trivet.registry import claim, ledger
from trivet.registry.client import translated
from trivet.registry.download import read_contract
from trivet.registry.gate import Gates, examine
from trivet.registry.ledger import Action, Release
from trivet.registry.plan import plan_promotion
from trivet.registry.proposal import Proposal
from trivet.registry.versions import read_pointers
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

BY_ITSELF = "trivet (canary)"
"""Who sets a canary back, or promotes it."""

_log = logging.getLogger(__name__)


def read_state(client: MlflowClient, model: str, kind: Kind) -> State | None:
    """Return the canary or shadow by its tag, or None.

    Raises:
        BadTrial: the tag cannot be read.
        UnknownModel, RegistryUnavailable: as for aliases.
    """
    text = read_pointers(client, model).tags.get(TAGS[kind])
    return None if text is None else parse_state(kind, text)


def begin(  # noqa: PLR0917 - each is a fact of the entry
    client: MlflowClient,
    settings: Settings,
    model: str,
    state: State,
    gates: Gates,
    who: str,
    reason: str = "",
    clock: Clock = system_clock,
) -> Release:
    """Have a version run beside the champion; refused, nothing is written.

    A canary of the same version may be begun anew with other limits or another percentage: it keeps its
    salt, and so its entities.

    Raises:
        BadTrial: the version is the champion, does not take or answer what the champion does, or
            another one runs.
        GatesRefused: gates refused.
        UnknownModel, ContractUnreadable, VersionCorrupt: there is no such version to be had.
        ReleaseConflict: somebody else wrote to the ledger first.
        RegistryUnavailable: MLflow does not answer.
    """
    kind = kind_of(state)
    contract = read_contract(client, model, state.version)
    chain = ledger.read_chain(client, model)
    champion = _champion(client, model, chain, state)
    if faults := list(misfits(champion, contract)):
        raise BadTrial(
            f"{model} version {state.version} cannot run beside version {ledger.stack(chain)[-1]}: "
            f"{'; '.join(faults)}.",
            hint="Promote it when callers and contract agree.",
        )
    report = _passed(client, settings, model, state, gates)
    claim.ask_leave(client, model)
    began = ledger.running(chain, kind)
    if began is not None and began.tried != state.version:
        raise BadTrial(
            f"Version {began.tried} of {model} is its {kind} already.",
            hint=f"End it first: trivet {kind} {model} --stop.",
        )
    salted = state.model_copy(
        update={"salt": state.salt or str(state.version), "entry": None, "since": None}
    )
    return _write(
        client,
        settings,
        model,
        chain,
        kind,
        salted.version,
        to_tag(salted),
        who,
        reason,
        report,
        clock,
    )


def end(  # noqa: PLR0917 - each is a fact of the entry
    client: MlflowClient,
    settings: Settings,
    model: str,
    kind: Kind,
    who: str,
    reason: str = "",
    figures: Mapping[str, object] | None = None,
    clock: Clock = system_clock,
) -> Release | None:
    """End a canary or shadow; None if none runs, in which case a leftover tag is removed.

    Raises:
        ReleaseConflict: somebody else wrote to the ledger first.
        UnknownModel, RegistryUnavailable: as for a release.
    """
    chain = ledger.read_chain(client, model)
    began = _begun(chain, kind)
    if began is None or began.tried is None:
        if TAGS[kind] in read_pointers(client, model).tags:
            with translated(client):
                client.delete_registered_model_tag(model, TAGS[kind])
        return None
    return _write(
        client, settings, model, chain, kind, began.tried, None, who, reason, figures or {}, clock
    )


def end_outlived(  # noqa: PLR0917 - as above
    client: MlflowClient,
    settings: Settings,
    model: str,
    release: Release,
    who: str,
    clock: Clock = system_clock,
) -> None:
    """End what ran beside a champion that a release has replaced; the follower does what fails here."""
    why = f"Version {release.to_version} was released ({release.action})."
    try:
        tags = read_pointers(client, model).tags
        for kind in TAGS:
            if TAGS[kind] in tags:
                end(client, settings, model, kind, who, why, clock=clock)
    except TrivetError as err:
        _log.warning("%s: its canary or shadow is ended later: %s", model, err)


def misfits(champion: Contract, other: Contract) -> Iterator[str]:
    """Say column by column why one version could not answer what the other is asked."""
    if champion.output != other.output:
        yield f"output: {other.output} where the champion has {champion.output}"
    before, after = _asked(champion), _asked(other)
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield f"{name}: asked by the champion, unknown to it"
        elif name not in before and after[name][1]:
            yield f"{name}: required by it, unknown to the champion"
        elif name in before and before[name][0] != after[name][0]:
            yield f"{name}: {after[name][0]} where the champion takes {before[name][0]}"


def _asked(contract: Contract) -> dict[str, tuple[str, bool]]:
    """Return what a caller sends: each field's dtype, and whether it must be there."""
    fields = {key.name: (str(key.dtype), True) for key in contract.join_keys}
    for column in contract.request_columns:
        fields.setdefault(column.name, (str(column.dtype), column.absent == "reject"))
    return fields


def _champion(client: MlflowClient, model: str, chain: Sequence[Release], state: State) -> Contract:
    released = ledger.stack(chain)
    if not released:
        raise BadTrial(
            f"{model} has no champion that version {state.version} could run beside.",
            hint=f"Release it: trivet promote {model} {state.version}.",
        )
    if released[-1] == state.version:
        raise BadTrial(f"{model} version {state.version} is the champion already.")
    return read_contract(client, model, released[-1])


def _passed(
    client: MlflowClient, settings: Settings, model: str, state: State, gates: Gates
) -> dict[str, object]:
    """Ask the gates, and return what they said, as the ledger keeps it."""
    plan = replace(plan_promotion(client, model, state.version), action=kind_of(state))
    with Proposal(client, settings, plan) as proposal:
        examination = examine(proposal, gates)
    examination.judge()
    return {
        "contract_digest": plan.digest,
        "gates": [report.document() for report in examination.reports],
        "seconds": round(examination.seconds, 3),
    }


def _begun(chain: Sequence[Release], kind: Kind) -> Release | None:
    """Return the newest beginning without an end of its own, whatever was released since."""
    for entry in reversed(chain):
        if entry.action == f"{kind}_end":
            return None
        if entry.action == kind:
            return entry
    return None


def _write(  # noqa: PLR0917 - each is a fact of the entry
    client: MlflowClient,
    settings: Settings,
    model: str,
    chain: Sequence[Release],
    kind: Kind,
    version: int,
    state: str | None,
    who: str,
    reason: str,
    report: Mapping[str, object],
    clock: Clock,
) -> Release:
    after = ledger.read_release(client, chain[-1].run_id)
    if not after.finished:
        after = claim.finish(client, model, after)
    entry = claim.Entry(
        model=model,
        action=_action(kind, ends=state is None),
        from_version=ledger.stack(chain)[-1],
        to_version=None,
        steps=1,
        who=who,
        reason=reason,
        at=clock(),
        report=report,
        tried=version,
        state=state,
    )
    return claim.write(client, settings, entry, after)


def _action(kind: Kind, *, ends: bool) -> Action:
    if kind == "canary":
        return "canary_end" if ends else "canary"
    return "shadow_end" if ends else "shadow"
