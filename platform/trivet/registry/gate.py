"""What a gate is, and what it says of a release that is proposed.

All gates are asked, also after one has refused: nobody has to mend one thing to learn of the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from trivet.errors import (
    ContractUnreadable,
    Difference,
    FeaturesUnavailable,
    GatesRefused,
    RegistryUnavailable,
    TrivetError,
    UnknownModel,
    VersionCorrupt,
)

if TYPE_CHECKING:
    from trivet.registry.ledger import Action
    from trivet.registry.proposal import Proposal

_FINAL = (VersionCorrupt, ContractUnreadable, UnknownModel)
"""What no force gets past: no service could load such a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate found."""

    passed: bool
    sentences: tuple[str, ...] = ()
    """What was compared, and what is wrong."""
    differences: tuple[Difference, ...] = ()
    """Column by column, where there are columns to name."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name with its unit: `p99_ms_1_rows`."""
    final: bool = False
    """Whether a refusal stands whatever is forced."""


Gate = Callable[["Proposal"], Verdict]
"""Judges a proposed release. What it raises is a refusal too, with the error's sentence."""

Gates = Mapping[str, Gate]
"""Gates by the name under which the ledger reports them."""


def no_gates(action: Action) -> Gates:
    """Return the gates of a registry by itself, whatever the action: none."""
    del action
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """A gate's verdict, and how long it took."""

    gate: str
    verdict: Verdict
    seconds: float
    down: TrivetError | None = None
    """What did not answer, so that the gate could not judge."""

    @property
    def passed(self) -> bool:
        """Whether the gate has nothing against the release."""
        return self.verdict.passed

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        verdict = self.verdict
        return {
            "gate": self.gate,
            "passed": verdict.passed,
            "sentences": list(verdict.sentences),
            "differences": [asdict(one) for one in verdict.differences],
            "figures": dict(verdict.figures),
            "final": verdict.final,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What all gates said of one proposal."""

    model: str
    version: int
    reports: tuple[GateReport, ...]

    @property
    def refused(self) -> tuple[str, ...]:
        """The names of the gates that refused."""
        return tuple(report.gate for report in self.reports if not report.passed)

    @property
    def passed(self) -> bool:
        """Whether no gate refused."""
        return not self.refused

    @property
    def seconds(self) -> float:
        """How long the gates took together."""
        return sum(report.seconds for report in self.reports)

    def judge(self, *, force: bool = False) -> None:
        """Let the release pass, or raise.

        Args:
            force: go on though gates refused, unless a refusal is final.

        Raises:
            GatesRefused: with what each gate said.
            FeaturesUnavailable: a gate could not judge, as something it needs does not answer.
        """
        against = [report for report in self.reports if not report.passed]
        final = [report.gate for report in against if report.verdict.final]
        if not against or (force and not final):
            return
        for report in against:
            if report.down is not None and not force:
                raise report.down
        raise GatesRefused(
            self.model,
            self.version,
            {report.gate: _said(report.verdict) for report in against},
            [one for report in against for one in report.verdict.differences],
            final=final,
        )


def examine(
    proposal: Proposal, gates: Gates, on_report: Callable[[GateReport], None] = lambda _: None
) -> Examination:
    """Ask every gate, one after the other.

    Args:
        proposal: the release that is judged.
        gates: by name.
        on_report: told of each as it is done.

    Raises:
        RegistryUnavailable: MLflow does not answer: then nothing can be released either.
    """
    reports = []
    for name, gate in gates.items():
        reports.append(_ask(name, gate, proposal))
        on_report(reports[-1])
    return Examination(
        model=proposal.plan.model, version=proposal.plan.to_version, reports=tuple(reports)
    )


def _ask(name: str, gate: Gate, proposal: Proposal) -> GateReport:
    started = time.perf_counter()
    down = None
    try:
        verdict = gate(proposal)
    except RegistryUnavailable:
        raise
    except FeaturesUnavailable as err:
        down = err
        verdict = Verdict(passed=False, sentences=(str(err),))
    except TrivetError as err:
        verdict = Verdict(passed=False, sentences=(str(err),), final=isinstance(err, _FINAL))
    return GateReport(gate=name, verdict=verdict, seconds=time.perf_counter() - started, down=down)


def _said(verdict: Verdict) -> tuple[str, ...]:
    columns = "; ".join(_shown(verdict.differences))
    return (*verdict.sentences, *([f"{columns}."] if columns else []))


def _shown(differences: Iterable[Difference]) -> Iterable[str]:
    for each in differences:
        yield f"{each.column} {each.aspect}: {each.contract} -> {each.feast}"
