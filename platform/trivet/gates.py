"""The gates that a release has to pass, wired from layers that the registry may not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trivet.contract import Contract
from trivet.errors import Difference
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.registry.release import Gates


def release_gates(settings: Settings) -> Gates:
    """Return the gates of this project, by the name under which the ledger reports them."""

    def features(contract: Contract) -> Sequence[Difference]:
        if contract.feature_service is None:
            return ()
        # Feast takes seconds to import: only a contract with features from it pays for that.
        from trivet.features.importing import import_feast_unchecked

        import_feast_unchecked()
        from trivet.features.offer import differences_from_feast

        return differences_from_feast(settings, contract)

    return {"features": features}
