"""The gate `metrics`: a version's quality, by itself and beside the champion's on the same rows.

Where both were measured on the same held-out rows, what they logged is compared. Else both are
measured again, on the held-out rows that the new version came with, by the runtime that serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.contract import Contract
from trivet.errors import Difference, RegistryUnavailable, TrivetError
from trivet.gates.bench import Bench
from trivet.gates.policy import MetricRule, direction_of
from trivet.registry.gate import Verdict

if TYPE_CHECKING:
    from trivet.registry.evaluation import Evaluation
    from trivet.registry.proposal import Proposal

_ROUNDING = 1e-9
"""So that 0.74 after 0.75 is within 0.01."""
_MEASURED = "accuracy, f1_macro, auc_macro, log_loss; of regressions mae, rmse, r2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The metrics of both versions."""

    own: Mapping[str, float]
    champion: Mapping[str, float] | None
    """None: there is none to compare with."""
    on: str
    """What they were measured on, in words."""


class _Incomparable(Exception):
    """The two cannot be measured on the same rows."""

    def __init__(self, sentence: str, differences: tuple[Difference, ...] = ()) -> None:
        super().__init__(sentence)
        self.differences = differences


def judge(rules: Mapping[str, MetricRule], bench: Bench, proposal: Proposal) -> Verdict:
    """Refuse a version that misses a floor, or is worse than the champion beyond a tolerance."""
    try:
        compared = _compare(rules, bench, proposal)
    except _Incomparable as err:
        return Verdict(passed=False, sentences=(str(err),), differences=err.differences)
    faults = {name: tuple(_faults(name, rule, compared)) for name, rule in rules.items()}
    return Verdict(
        passed=not any(faults.values()),
        sentences=(
            *(" ".join(faults[name]) or _good(name, compared) for name in rules),
            f"Measured on {compared.on}.",
        ),
        figures={key: value for name in rules for key, value in _figures(name, compared)},
    )


def _compare(rules: Mapping[str, MetricRule], bench: Bench, proposal: Proposal) -> Compared:
    """Return the metrics of both: as logged if they are of the same rows, else measured again.

    Raises:
        _Incomparable: that cannot be; the sentence says why.
    """
    compares = [name for name, rule in rules.items() if rule.tolerance is not None]
    try:
        own = proposal.evaluation
        champion = proposal.champion_evaluation if compares else None
        logged = all(name in own.metrics for name in rules)
        if champion is None and (logged or own.digest is None):
            return Compared(own=own.metrics, champion=None, on="its held-out rows, when registered")
        if champion is not None and logged and _same_rows(own, champion, compares):
            on = f"the same {own.rows:,} held-out rows, when registered"
            return Compared(own=own.metrics, champion=champion.metrics, on=on)
        return _measure(bench, proposal, beside=champion is not None)
    except RegistryUnavailable:
        raise
    except TrivetError as err:
        raise _Incomparable(f"It cannot be compared: {err}") from err


def _same_rows(own: Evaluation, champion: Evaluation, names: Iterable[str]) -> bool:
    return (
        own.digest is not None
        and own.digest == champion.digest
        and all(name in champion.metrics for name in names)
    )


def _measure(bench: Bench, proposal: Proposal, *, beside: bool) -> Compared:
    if proposal.evaluation.digest is None:
        raise _Incomparable(
            f"Version {proposal.plan.to_version} was registered without the truth of its held-out "
            "rows (Candidate.labels), so nobody can measure another version on them."
        )
    champion = (proposal.champion_contract, proposal.champion_folder) if beside else (None, None)
    contracts = [each for each in (proposal.contract, champion[0]) if each is not None]
    file = proposal.home / "answerable.parquet"
    rows = _write_answerable(proposal.held_out, contracts, file)
    again = bench.scores(proposal.plan.to_version, proposal.folder, file)
    mine = {**proposal.evaluation.metrics, **again}
    if champion[1] is None or proposal.plan.from_version is None:
        return Compared(own=mine, champion=None, on=f"{rows:,} of its held-out rows, just now")
    return Compared(
        own=mine,
        champion=bench.scores(proposal.plan.from_version, champion[1], file),
        on=f"{rows:,} of its held-out rows, both just now",
    )


def _write_answerable(held_out: Path, contracts: Iterable[Contract], file: Path) -> int:
    """Write the held-out rows that every contract lets through, and return how many there are.

    Raises:
        _Incomparable: a column that a contract takes is not among the stored ones; or no row is left.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(held_out)
    for contract in contracts:
        lacking = [column for column in contract.columns if column.name not in table.column_names]
        if lacking:
            raise _Incomparable(
                "The held-out rows lack columns that the champion takes: put them into the frame.",
                tuple(
                    Difference(
                        column=column.source if column.view else column.name,
                        aspect="held-out column",
                        contract=column.dtype,
                        feast="not stored",
                    )
                    for column in lacking
                ),
            )
        for column in contract.columns:
            if column.absent == "reject":
                table = table.filter(pc.is_valid(table[column.name]))
    if not len(table):
        raise _Incomparable("There is no held-out row that both versions answer.")
    pq.write_table(table, file)
    return len(table)


def _faults(name: str, rule: MetricRule, compared: Compared) -> Iterator[str]:
    own = compared.own.get(name)
    if own is None:
        yield f"{name} was not measured; what can be measured again: {_MEASURED}."
        return
    if rule.min is not None and not own >= rule.min:
        yield f"{name} {own:.4f} is under the floor of {rule.min:g}."
    if rule.max is not None and not own <= rule.max:
        yield f"{name} {own:.4f} is over the ceiling of {rule.max:g}."
    if rule.tolerance is None or compared.champion is None:
        return
    champion = compared.champion.get(name)
    if champion is None:
        yield f"{name} of the champion was not measured."
        return
    worse = champion - own if direction_of(name, rule) == "higher" else own - champion
    if not worse <= rule.tolerance + _ROUNDING:
        yield (
            f"{name} {own:.4f} is worse than the champion's {champion:.4f} by {worse:.4f}; "
            f"{rule.tolerance:g} is allowed."
        )


def _good(name: str, compared: Compared) -> str:
    if compared.champion is None or name not in compared.champion:
        return f"{name} {compared.own[name]:.4f}."
    return f"{name} {compared.own[name]:.4f}, the champion's {compared.champion[name]:.4f}."


def _figures(name: str, compared: Compared) -> Iterator[tuple[str, float]]:
    if name in compared.own:
        yield name, compared.own[name]
    if compared.champion is not None and name in compared.champion:
        yield f"champion_{name}", compared.champion[name]
