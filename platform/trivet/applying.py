"""Apply features only where no live version breaks, wired from layers that do not know each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from trivet.clock import Clock, system_clock
from trivet.contract import Contract
from trivet.errors import ApplyRefused, Difference
from trivet.offer import Offer, compare
from trivet.registry.forced import Forced, recorded
from trivet.registry.standing import Registered, Standing, registered_on
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.features.apply import FeaturePlan
    from trivet.registry.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What a plan would do to one registered version."""

    model: str
    version: int
    standing: Standing
    differences: tuple[Difference, ...]
    """Between its contract and what Feast would offer."""
    already: tuple[Difference, ...]
    """Those of them that are there now."""
    unreadable: str | None = None
    """Why its contract could not be compared."""

    @property
    def breaks(self) -> bool:
        """Whether the plan would break it, beyond what is broken now."""
        return len(self.differences) > len(self.already)

    @property
    def name(self) -> str:
        """Such as `flight_delay version 2`."""
        return f"{self.model} version {self.version}"


def read_impacts(client: Client, settings: Settings, plan: FeaturePlan) -> tuple[Impact, ...]:
    """Compare every registered version on the plan's project with what Feast would offer.

    Raises:
        RegistryUnavailable: MLflow does not answer.
        FeaturesUnavailable: the feature registry does not.
    """
    from trivet.features.offer import read_offer

    versions = registered_on(client, settings, plan.project)
    services = {
        each.contract.feature_service
        for each in versions
        if each.contract is not None and each.contract.feature_service is not None
    }
    now = {name: read_offer(plan.store, name) for name in services}
    then = {name: plan.offer(name) for name in services}
    return tuple(_impact(each, now, then) for each in versions)


def broken_champions(impacts: Sequence[Impact]) -> tuple[Impact, ...]:
    """Return the live versions that a plan would break."""
    return tuple(each for each in impacts if each.breaks and each.standing == "champion")


def apply_planned(
    client: Client,
    settings: Settings,
    plan: FeaturePlan,
    impacts: Sequence[Impact],
    *,
    who: str,
    reason: str | None = None,
    clock: Clock = system_clock,
) -> None:
    """Apply a plan, unless it breaks a live version and nobody has said why it should.

    Args:
        client: of the registry.
        settings: of the project.
        plan: to be carried out.
        impacts: of this plan.
        who: does it.
        reason: why a live version may break; None: it may not. Kept in MLflow.
        clock: of the record.

    Raises:
        ApplyRefused: a live version would break; nothing was changed.
        FeaturesUnavailable: Feast could not apply it.
        RegistryUnavailable: MLflow does not take the reason; nothing was changed.
    """
    from trivet.features.apply import apply_features

    broken = broken_champions(impacts)
    if broken and reason is None:
        raise ApplyRefused([each.name for each in broken])
    record: AbstractContextManager[None] = nullcontext()
    if broken and reason is not None:
        names = ", ".join(each.name for each in broken)
        forced = Forced(who=who, reason=reason, at=clock(), broken=names)
        record = recorded(client, settings, plan.project, forced, _document(plan, impacts))
    with record:
        apply_features(plan, settings)


def _impact(
    each: Registered, now: Mapping[str, Offer | None], then: Mapping[str, Offer | None]
) -> Impact:
    after = _differences(each.contract, then)
    before = set(_differences(each.contract, now))
    return Impact(
        model=each.model,
        version=each.version,
        standing=each.standing,
        differences=after,
        already=tuple(difference for difference in after if difference in before),
        unreadable=each.unreadable,
    )


def _differences(
    contract: Contract | None, offers: Mapping[str, Offer | None]
) -> tuple[Difference, ...]:
    if contract is None or contract.feature_service is None:
        return ()
    return compare(contract, offers[contract.feature_service])


def _document(plan: FeaturePlan, impacts: Sequence[Impact]) -> dict[str, object]:
    return {
        "project": plan.project,
        "changes": [asdict(change) for change in plan.changes],
        "versions": [asdict(impact) for impact in impacts if impact.breaks],
    }
