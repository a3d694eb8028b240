"""The gate `features`: a contract against what Feast has now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trivet.contract import Contract
from trivet.errors import Difference
from trivet.registry.gate import Verdict
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal


def feature_differences(settings: Settings, contract: Contract) -> Sequence[Difference]:
    """Return in what Feast differs now from what a contract relies on.

    The feature service, each feature view with its join keys and TTL, each on-demand view with its
    inputs and code, each column with its dtype.

    Raises:
        FeaturesUnavailable: the feature registry does not answer.
    """
    if contract.feature_service is None:
        return ()
    # Feast takes seconds to import: only a contract with features from it pays for that.
    from trivet.features.importing import import_feast_unchecked

    import_feast_unchecked()
    from trivet.features.offer import differences_from_feast

    return differences_from_feast(settings, contract)


def judge(settings: Settings, proposal: Proposal) -> Verdict:
    """Refuse a version whose features have come to differ; name what a rollback could return to."""
    contract = proposal.contract
    if contract.feature_service is None:
        return Verdict(passed=True, sentences=("It takes nothing from Feast.",))
    differences = tuple(feature_differences(settings, contract))
    service = f"{contract.project}/{contract.feature_service}"
    if not differences:
        return Verdict(passed=True, sentences=(f"It fits {service} as Feast has it now.",))
    said = f"{len(differences)} difference{'s' if len(differences) > 1 else ''} from {service}."
    todo = "Restore the features, or register a version on the present ones."
    if proposal.plan.action == "rollback":
        todo = proposal.newest_fitting(lambda other: not feature_differences(settings, other))
    return Verdict(passed=False, sentences=(said, todo), differences=differences)
