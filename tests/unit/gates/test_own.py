"""A gate of the project's own is a function of its code; whatever it raises is a refusal."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from trivet.gates import own
from trivet.gates.policy import Own
from trivet.registry.gate import Verdict
from unit.gates.proposals import FakeProposal


def ask(root: Path, monkeypatch: pytest.MonkeyPatch, code: str, **parameters: object) -> Verdict:
    """Ask a gate of this code, in a module below the project's root."""
    monkeypatch.delitem(sys.modules, "own_checks.rules", raising=False)
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)
    (root / "own_checks").mkdir()
    (root / "own_checks" / "rules.py").write_text(dedent(code))
    policy = Own(call="own_checks.rules:judge", parameters=parameters)
    return own.judge(policy, FakeProposal(home=root))


def test_it_gets_the_proposal_and_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its verdict is the gate's; the path of modules is as before."""
    code = """
    from trivet import Verdict

    def judge(proposal, *, most):
        version = proposal.plan.to_version
        return Verdict(passed=version <= most, sentences=(f"{version} of {most}.",))
    """
    before = list(sys.path)
    verdict = ask(tmp_path, monkeypatch, code, most=1)
    assert (verdict.passed, verdict.sentences, verdict.final) == (False, ("2 of 1.",), False)
    assert sys.path == before


def test_none_is_nothing_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest gate raises, or returns nothing."""
    assert ask(tmp_path, monkeypatch, "def judge(proposal): pass\n").passed


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def judge(proposal): raise KeyError('age')\n", "raised KeyError: 'age'"),
        ("def judge(proposal): raise SystemExit(3)\n", "raised SystemExit: 3"),
        ("def judge(proposal): return True\n", "returned a bool, where a trivet.Verdict"),
        ("import nothing_like_it\n", "raised ModuleNotFoundError: No module named 'nothing"),
        ("def other(): pass\n", "has no attribute 'judge'"),
        ("def judge(proposal, wanted): pass\n", "missing 1 required positional argument"),
    ],
)
def test_whatever_it_raises_is_a_refusal_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    """It may be forced: nobody knows that the version is at fault."""
    verdict = ask(tmp_path, monkeypatch, code)
    assert not verdict.passed
    assert not verdict.final
    (sentence,) = verdict.sentences
    assert sentence.startswith("own_checks.rules:judge ")
    assert says in sentence


def test_a_version_that_such_a_gate_calls_corrupt_may_be_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Trivet's own look at the files is final."""
    code = """
    from trivet.errors import VersionCorrupt

    def judge(proposal):
        raise VersionCorrupt("it smells")
    """
    verdict = ask(tmp_path, monkeypatch, code)
    assert (verdict.passed, verdict.final) == (False, False)
