"""The gate `latency`: how long a prediction takes, from preprocess to postprocess, measured now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trivet.errors import VersionCorrupt
from trivet.gates.bench import Bench
from trivet.gates.policy import Latency
from trivet.registry.gate import Verdict

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal


def judge(policy: Latency, bench: Bench, proposal: Proposal) -> Verdict:
    """Refuse a version whose 99th percentile is over its budget for any number of rows."""
    if not proposal.contract.golden:
        return Verdict(
            passed=False, sentences=("The contract has no golden rows to measure with.",)
        )
    try:
        timed = bench.latency(proposal, sorted(policy.p99_ms), policy.seconds)
    except VersionCorrupt as err:  # the gate `golden` says it with the weight that it has
        return Verdict(passed=False, sentences=(str(err),))
    sentences: list[str] = []
    figures: dict[str, float] = {}
    for rows, each in timed.items():
        budget = policy.p99_ms[rows]
        over = each.p99_ms > budget
        sentences.append(
            f"{rows:,} row{'s' if rows > 1 else ''}: p99 {each.p99_ms:.2f} ms, "
            f"{'over' if over else 'within'} {budget:g} ms "
            f"(p50 {each.p50_ms:.2f}, {each.calls:,} calls)."
        )
        figures |= {f"p50_ms_{rows}_rows": each.p50_ms, f"p99_ms_{rows}_rows": each.p99_ms}
    passed = all(each.p99_ms <= policy.p99_ms[rows] for rows, each in timed.items())
    return Verdict(passed=passed, sentences=tuple(sentences), figures=figures)
