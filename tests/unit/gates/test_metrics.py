"""A version's metrics are held against a floor and the champion's, on the same rows or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivet.errors import UnknownModel, VersionCorrupt
from trivet.gates import metrics
from trivet.gates.bench import Bench
from trivet.gates.policy import MetricRule
from trivet.registry.evaluation import LABEL
from trivet.registry.gate import Verdict
from unit.fakes import AGE, AMOUNT, shop
from unit.gates.proposals import FakeProposal, evaluated

AUC = {"auc": MetricRule(min=0.7, tolerance=0.01)}


class FakeBench(Bench):
    """Scores that a test gives, by version; remembers what was asked."""

    def __init__(self, scores: Mapping[int, Mapping[str, float]] | None = None) -> None:
        """`scores`: by version."""
        super().__init__()
        self._scores = scores or {}
        self.rows: list[int] = []

    def scores(self, version: int, folder: Path, held_out: Path) -> Mapping[str, float]:
        """Return a version's."""
        self.rows.append(len(pq.read_table(held_out)))
        if version not in self._scores:
            raise VersionCorrupt(f"Version {version} does not load.")
        return self._scores[version]


def judge(proposal: FakeProposal, rules: Any = AUC, bench: FakeBench | None = None) -> Verdict:
    """Ask the gate."""
    return metrics.judge(rules, bench or FakeBench(), proposal)


@pytest.mark.parametrize(
    ("own", "champion", "says"),
    [
        (0.75, 0.75, None),
        (0.745, 0.75, None),
        (0.70, None, None),
        (0.80, 0.75, None),
        (0.73, 0.75, "auc 0.7300 is worse than the champion's 0.7500 by 0.0200; 0.01 is allowed."),
        (0.69, 0.69, "auc 0.6900 is under the floor of 0.7."),
        (float("nan"), 0.75, "is under the floor of 0.7"),
    ],
)
def test_logged_metrics_of_the_same_rows_are_compared(
    tmp_path: Path, own: float, champion: float | None, says: str | None
) -> None:
    """The floor holds also for the first release, where there is no champion."""
    beside = None if champion is None else evaluated(auc=champion)
    proposal = FakeProposal(
        home=tmp_path, evaluation=evaluated(auc=own), champion_evaluation=beside
    )
    verdict = judge(proposal)
    assert verdict.passed is (says is None)
    if says is not None:
        assert says in verdict.sentences[0]
    if champion is not None and not math.isnan(own):
        assert verdict.figures == {"auc": own, "champion_auc": champion}


def test_lower_can_be_better(tmp_path: Path) -> None:
    """Of a loss, and of what the policy says it of."""
    proposal = FakeProposal(
        home=tmp_path,
        evaluation=evaluated(log_loss=0.5, cost=9.0),
        champion_evaluation=evaluated(log_loss=0.4, cost=10.0),
    )
    rules = {
        "log_loss": MetricRule(max=0.45, tolerance=0.05),
        "cost": MetricRule(tolerance=0.0, direction="lower"),
    }
    verdict = judge(proposal, rules)
    assert "over the ceiling of 0.45" in verdict.sentences[0]
    assert "worse than the champion's 0.4000 by 0.1000" in verdict.sentences[0]
    assert verdict.sentences[1] == "cost 9.0000, the champion's 10.0000."


def held_out(tmp_path: Path, **columns: list[Any]) -> Path:
    """Write held-out rows."""
    file = tmp_path / "held_out.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def on_other_rows(tmp_path: Path, **changes: Any) -> FakeProposal:
    """Return a proposal whose versions were evaluated on different rows."""
    contract = shop(project=None, feature_service=None, join_keys=(), views=(), columns=(AMOUNT,))
    rows = {"amount": [1.0, 2.0, None], "age": [1.0, None, 3.0], LABEL: [0, 1, 0]}
    parts: dict[str, Any] = {
        "contract": contract,
        "champion_contract": contract,
        "champion_folder": tmp_path,
        "evaluation": evaluated("d2", auc=0.9),
        "champion_evaluation": evaluated("d1", auc=0.1),
        "held_out": held_out(tmp_path, **rows),
    }
    return FakeProposal(home=tmp_path, **{**parts, **changes})


def test_on_different_rows_both_are_measured_again(tmp_path: Path) -> None:
    """What they logged is not compared; rows that either would refuse are left out for both."""
    bench = FakeBench({1: {"auc": 0.75}, 2: {"auc": 0.74}})
    verdict = judge(on_other_rows(tmp_path), bench=bench)
    assert verdict.passed
    assert verdict.sentences[0] == "auc 0.7400, the champion's 0.7500."
    assert verdict.sentences[-1] == "Measured on 2 of its held-out rows, both just now."
    assert bench.rows == [2, 2]
    worse = judge(on_other_rows(tmp_path), bench=FakeBench({1: {"auc": 0.8}, 2: {"auc": 0.7}}))
    assert not worse.passed


def test_columns_that_only_the_champion_takes_are_named(tmp_path: Path) -> None:
    """So that they can be put into the frame."""
    income = AGE.model_copy(update={"name": "income", "source": "request"})
    champion = shop(
        project=None, feature_service=None, join_keys=(), views=(), columns=(AMOUNT, income)
    )
    verdict = judge(on_other_rows(tmp_path, champion_contract=champion))
    assert not verdict.passed
    (difference,) = verdict.differences
    assert (difference.column, difference.aspect, difference.feast) == (
        "income",
        "held-out column",
        "not stored",
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evaluation": evaluated(None, auc=0.9)}, "without the truth of its held-out rows"),
        ({"held_out": Path("/nonexistent")}, None),
    ],
)
def test_what_cannot_be_compared_is_refused_and_not_final(
    tmp_path: Path, changes: dict[str, Any], says: str | None
) -> None:
    """It can be forced, with a reason."""
    if says is None:
        with pytest.raises(FileNotFoundError):
            judge(on_other_rows(tmp_path, **changes))
        return
    verdict = judge(on_other_rows(tmp_path, **changes))
    assert (verdict.passed, verdict.final) == (False, False)
    assert says in verdict.sentences[0]


def test_a_champion_that_cannot_be_measured_is_said(tmp_path: Path) -> None:
    """Its files are damaged, or it was deleted."""
    verdict = judge(on_other_rows(tmp_path), bench=FakeBench({2: {"auc": 0.9}}))
    assert verdict.sentences == ("It cannot be compared: Version 1 does not load.",)

    class Deleted(FakeProposal):
        @property
        def champion_evaluation(self) -> Any:
            raise UnknownModel("toy has no version 1; versions: 2.")

        @champion_evaluation.setter
        def champion_evaluation(self, value: Any) -> None: ...

    verdict = judge(Deleted(home=tmp_path))
    assert "toy has no version 1" in verdict.sentences[0]
    assert (verdict.passed, verdict.final) == (False, False)


def test_a_metric_that_nobody_measured_is_refused(tmp_path: Path) -> None:
    """Neither logged nor among those that can be measured again."""
    proposal = FakeProposal(home=tmp_path, evaluation=evaluated(None, auc=0.9))
    verdict = judge(proposal, {"profit": MetricRule(min=1, direction="higher")})
    assert "profit was not measured" in verdict.sentences[0]
    assert "auc_macro" in verdict.sentences[0]


def test_a_floor_alone_needs_no_champion_and_no_rows(tmp_path: Path) -> None:
    """What the version logged of itself is enough."""
    proposal = FakeProposal(
        home=tmp_path,
        evaluation=evaluated(None, auc=0.9),
        champion_evaluation=evaluated("d1", auc=0.99),
    )
    assert judge(proposal, {"auc": MetricRule(min=0.7)}).passed
