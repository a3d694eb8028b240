"""The gate `features` refuses column by column, and knows where a rollback could still go."""

from __future__ import annotations

from pathlib import Path

import pytest

from trivet.errors import Difference
from trivet.gates import features
from unit.fakes import shop
from unit.gates.proposals import FakeProposal

TTL = Difference(column="users:*", aspect="TTL", contract="3600 s", feast="60 s")


def test_a_contract_without_features_passes_without_feast(tmp_path: Path) -> None:
    """Which need not be there."""
    contract = shop(project=None, feature_service=None)
    proposal = FakeProposal(home=tmp_path, contract=contract)
    assert features.judge(proposal.settings, proposal).passed


@pytest.mark.parametrize(
    ("action", "todo"),
    [("promote", "Restore the features"), ("rollback", "champion 2 releases ago, still fits")],
)
def test_differences_are_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, todo: str
) -> None:
    """Of a rollback it is an earlier version."""
    monkeypatch.setattr(features, "feature_differences", lambda *_: [TTL])
    proposal = FakeProposal(home=tmp_path, action=action)
    verdict = features.judge(proposal.settings, proposal)
    assert (verdict.passed, verdict.differences, verdict.final) == (False, (TTL,), False)
    assert verdict.sentences[0] == "1 difference from shop/shop_v1."
    assert todo in verdict.sentences[1]
