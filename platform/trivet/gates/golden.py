"""The gate `golden`: a version's golden rows through the runtime that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trivet.gates.bench import Bench
from trivet.registry.gate import Verdict

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal


def judge(bench: Bench, proposal: Proposal) -> Verdict:
    """Refuse, whatever is forced, a version that does not load or answers otherwise than it must.

    Raises:
        VersionCorrupt: it is not as it was registered; no service would take it either.
    """
    done = bench.golden(proposal)
    rows = len(proposal.contract.golden)
    kind = proposal.contract.runtime.kind
    said = (
        f"{rows} golden rows come out as stored, by {kind}."
        if rows
        else f"It loads, by {kind}; its contract has no golden rows."
    )
    return Verdict(passed=True, sentences=(said,), figures={"load_seconds": done.load_seconds})
