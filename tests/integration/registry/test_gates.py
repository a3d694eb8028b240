"""Gates judge a release before anything is written, and what they said stands in the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trivet.errors import (
    Difference,
    FeaturesUnavailable,
    GatesRefused,
    ReleaseRefused,
    VersionCorrupt,
)
from trivet.registry import ledger
from trivet.registry.follower import Follower
from trivet.registry.gate import GateReport, Verdict
from trivet.registry.plan import plan_promotion, plan_rollback
from trivet.registry.release import apply, rehearse

from .toy import MODEL, register

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal

    from .conftest import Registry

DIFFERENCE = Difference(column="age", aspect="dtype", contract="float64", feast="int64")


def passing(proposal: Proposal) -> Verdict:
    """Be a gate that has nothing against it, and has measured something."""
    return Verdict(passed=True, sentences=("It is fine.",), figures={"auc": 0.75})


def columns(proposal: Proposal) -> Verdict:
    """Be a gate that finds one column of another dtype."""
    return Verdict(passed=False, sentences=("1 difference.",), differences=(DIFFERENCE,))


def slow(proposal: Proposal) -> Verdict:
    """Be a gate that refuses without a column to name."""
    return Verdict(passed=False, sentences=("p99 12 ms, over 5 ms.",))


def corrupt(proposal: Proposal) -> Verdict:
    """Be a gate that cannot read the version."""
    raise VersionCorrupt("model.skops is missing.")


def unanswered(proposal: Proposal) -> Verdict:
    """Be a gate for whom something does not answer."""
    raise FeaturesUnavailable("The feature registry does not answer.")


class State:
    """Everything that a refusal must leave as it was: alias, ledger with its runs, service."""

    def __init__(self, registry: Registry) -> None:
        """Take it down."""
        self._registry = registry
        self.before = self._now()

    def _now(self) -> tuple[object, ...]:
        registry = self._registry
        client = registry.client
        experiments = [e for e in client.search_experiments() if e.name.startswith("trivet/")]
        runs = client.search_runs([e.experiment_id for e in experiments]) if experiments else []
        live = registry.shelf.live_file
        return (
            registry.alias,
            ledger.read_chain(client, MODEL),
            sorted((run.info.run_id, run.info.status, str(run.data.params)) for run in runs),
            live.read_bytes() if live.exists() else None,
            live.stat().st_mtime_ns if live.exists() else None,
        )

    def assert_unchanged(self) -> None:
        """Compare with the present, also after the host's follower has looked again."""
        assert self._now() == self.before
        Follower(self._registry.settings, MODEL).step()
        assert self._now() == self.before


@pytest.fixture
def served(registry: Registry) -> Registry:
    """Return the registry, with version 1 released and live on this host."""
    registry.promote(1)
    Follower(registry.settings, MODEL).step()
    return registry


def report_of(registry: Registry, release: ledger.Release) -> dict:
    """Return the gates' report that lies with a release."""
    file = registry.client.download_artifacts(
        release.run_id, "gates.json", str(registry.settings.root)
    )
    return json.loads(Path(file).read_text())


def test_all_gates_are_asked_and_all_refusals_named(served: Registry) -> None:
    """Nobody mends one thing to learn of the next; nothing has changed."""
    state = State(served)
    reports: list[GateReport] = []
    plan = plan_promotion(served.client, MODEL, 2)
    gates = {"columns": columns, "slow": slow, "fine": passing}
    with pytest.raises(GatesRefused) as caught:
        apply(served.client, served.settings, plan, gates, "ann", on_report=reports.append)
    assert caught.value.refused == ("columns", "slow")
    assert caught.value.differences == (DIFFERENCE,)
    assert "age dtype: float64 -> int64" in caught.value.sentence
    assert "over 5 ms" in caught.value.sentence
    assert "--force --reason" in (caught.value.hint or "")
    assert [report.gate for report in reports] == ["columns", "slow", "fine"]
    state.assert_unchanged()


def test_a_first_release_that_is_refused_opens_no_ledger(registry: Registry) -> None:
    """Not even the experiment."""
    state = State(registry)
    with pytest.raises(GatesRefused):
        registry.promote(1, {"columns": columns})
    state.assert_unchanged()
    assert registry.client.get_experiment_by_name(ledger.experiment_name(MODEL)) is None


def test_a_rehearsal_writes_nothing_and_is_of_the_very_plan(served: Registry) -> None:
    """Whether it passes or not; the plan that was rehearsed can be applied."""
    state = State(served)
    plan = plan_promotion(served.client, MODEL, 2)
    found = rehearse(served.client, served.settings, plan, {"fine": passing, "slow": slow})
    assert (found.passed, found.refused) == (False, ("slow",))
    assert rehearse(served.client, served.settings, plan, {"fine": passing}).passed
    state.assert_unchanged()
    release = apply(served.client, served.settings, plan, {"fine": passing}, "ann")
    assert (release.from_version, release.to_version) == (plan.from_version, plan.to_version)


def test_the_report_of_the_gates_lies_with_the_release(registry: Registry) -> None:
    """It is an artifact of the run, to be read in `mlflow ui`; so is how long it took."""
    release = registry.promote(1, {"fine": passing})
    report = report_of(registry, release)
    (gate,) = report["gates"]
    assert gate.pop("seconds") >= 0
    assert gate == {
        "gate": "fine",
        "passed": True,
        "sentences": ["It is fine."],
        "differences": [],
        "figures": {"auc": 0.75},
        "final": False,
    }
    assert report["forced"] == []
    assert release.forced == ()
    assert release.gates_seconds is not None
    assert release.seconds is not None
    assert 0 <= release.gates_seconds <= release.seconds < 60


def test_a_forced_release_keeps_its_reason_and_what_had_refused_it(served: Registry) -> None:
    """In the ledger's parameters, and column by column in the report."""
    plan = plan_promotion(served.client, MODEL, 2)
    gates = {"columns": columns, "slow": slow, "fine": passing}
    release = apply(
        served.client, served.settings, plan, gates, "ann", "the fair is tomorrow", force=True
    )
    assert (release.forced, release.reason) == (("columns", "slow"), "the fair is tomorrow")
    assert served.alias == 2
    assert ledger.read_chain(served.client, MODEL)[-1].forced == ("columns", "slow")
    report = report_of(served, release)
    assert report["forced"] == ["columns", "slow"]
    assert report["gates"][0]["differences"][0]["column"] == "age"


def test_force_that_was_not_needed_is_not_in_the_ledger(served: Registry) -> None:
    """A release that passed is not a forced one."""
    plan = plan_promotion(served.client, MODEL, 2)
    gates = {"fine": passing}
    release = apply(served.client, served.settings, plan, gates, "ann", "to be sure", force=True)
    assert release.forced == ()


def test_nobody_forces_without_a_reason(served: Registry) -> None:
    """Also by the Python interface."""
    state = State(served)
    plan = plan_promotion(served.client, MODEL, 2)
    with pytest.raises(ReleaseRefused, match="for a reason"):
        apply(served.client, served.settings, plan, {}, "ann", " ", force=True)
    state.assert_unchanged()


def test_a_corrupt_version_cannot_be_forced(served: Registry) -> None:
    """No service would take it."""
    state = State(served)
    plan = plan_promotion(served.client, MODEL, 2)
    gates = {"golden": corrupt, "slow": slow}
    with pytest.raises(GatesRefused, match=r"model\.skops is missing") as caught:
        apply(served.client, served.settings, plan, gates, "ann", "now", force=True)
    assert caught.value.refused == ("golden", "slow")
    assert "What golden found cannot be forced" in (caught.value.hint or "")
    state.assert_unchanged()


def test_what_does_not_answer_is_not_a_refusal_but_can_be_forced(served: Registry) -> None:
    """A script waits and tries again; a rollback in an outage goes through all the same."""
    state = State(served)
    plan = plan_promotion(served.client, MODEL, 2)
    gates = {"features": unanswered, "fine": passing}
    with pytest.raises(FeaturesUnavailable):
        apply(served.client, served.settings, plan, gates, "ann")
    state.assert_unchanged()
    done = apply(served.client, served.settings, plan, gates, "ann", "outage", force=True)
    assert done.forced == ("features",)


def test_a_gate_sees_the_files_of_both_versions_as_mlflow_has_them(served: Registry) -> None:
    """Brought once, verified, and removed again; this host's own copies are left alone."""
    seen: list[Path] = []

    def looking(proposal: Proposal) -> Verdict:
        assert proposal.champion_contract is not None
        assert proposal.contract.digest != proposal.champion_contract.digest
        assert proposal.champion_folder is not None
        for folder in (proposal.folder, proposal.folder, proposal.champion_folder):
            assert (folder / "MLmodel").is_file()
            seen.append(folder)
        assert proposal.evaluation.metrics == {"accuracy": 0.7}
        return Verdict(passed=True)

    on_shelf = sorted(served.shelf.versions.iterdir())
    served.promote(2, {"looking": looking})
    assert len(set(seen)) == 2
    assert not any(folder.exists() for folder in seen)
    assert sorted(served.shelf.versions.iterdir()) == on_shelf


def test_a_gate_finds_files_that_were_damaged_in_the_registry(served: Registry) -> None:
    """Also where this host has a good copy of its own."""
    version = register(served.client, served.settings, 4)
    uri = served.client.get_model_version_download_uri(MODEL, str(version))
    Path(uri.removeprefix("file://"), "model.skops").write_bytes(b"")
    state = State(served)

    def reading(proposal: Proposal) -> Verdict:
        return Verdict(passed=proposal.folder.is_dir())

    plan = plan_promotion(served.client, MODEL, version)
    with pytest.raises(GatesRefused, match=r"model\.skops of toy version 4"):
        apply(served.client, served.settings, plan, {"g": reading}, "ann", "now", force=True)
    state.assert_unchanged()


def test_a_rollback_that_is_refused_leaves_everything_as_it_was(served: Registry) -> None:
    """And can be forced like a promotion."""
    served.promote(2)
    Follower(served.settings, MODEL).step()
    state = State(served)
    plan = plan_rollback(served.client, MODEL)
    with pytest.raises(GatesRefused, match="toy version 1 is not released"):
        apply(served.client, served.settings, plan, {"columns": columns}, "ann")
    state.assert_unchanged()
    gates = {"columns": columns}
    done = apply(served.client, served.settings, plan, gates, "ann", "it burns", force=True)
    assert (done.action, done.to_version, done.forced) == ("rollback", 1, ("columns",))


def test_a_rollback_to_a_deleted_version_names_the_newest_that_fits(registry: Registry) -> None:
    """Not one that exists and no longer fits; the steps to it are those to type."""
    for version in (3, 1, 2, 1, 2):
        registry.promote(version)
    registry.client.delete_model_version(MODEL, "1")
    asked: list[str] = []

    def fits(contract: object) -> bool:
        asked.append(contract.libraries["scikit-learn"])  # type: ignore[attr-defined]
        return True

    with pytest.raises(ReleaseRefused) as caught:
        plan_rollback(registry.client, MODEL, fits=fits)
    assert caught.value.hint == (
        "Version 3, champion 4 releases ago, still fits: trivet rollback toy --steps 4."
    )
    assert len(asked) == 1
    with pytest.raises(ReleaseRefused, match="No earlier champion of toy still exists and fits"):
        plan_rollback(registry.client, MODEL, fits=lambda _: False)


def test_which_version_answered_at_a_moment(registry: Registry) -> None:
    """Before the first release none did."""
    first = registry.promote(1)
    second = registry.promote(2)
    back = apply(registry.client, registry.settings, plan_rollback(registry.client, MODEL), {}, "a")
    chain = ledger.read_chain(registry.client, MODEL)
    for release in (first, second, back):
        assert ledger.answering_at(chain, release.at) == release_in(chain, release)
    assert ledger.answering_at(chain, chain[0].at.replace(year=2000)) is None


def release_in(chain: tuple[ledger.Release, ...], release: ledger.Release) -> ledger.Release:
    """Return an entry as the chain has it: with its successor."""
    return next(entry for entry in chain if entry.run_id == release.run_id)


def test_the_ledger_only_grows(registry: Registry) -> None:
    """Whatever is released, refused, forced or rolled back, no entry that was there changes."""
    known: dict[str, tuple[object, ...]] = {}
    for action in (1, 2, "refused", "forced", "back", "back"):
        if action == "refused":
            with pytest.raises(GatesRefused):
                registry.promote(1, {"slow": slow})
        elif action == "forced":
            plan = plan_promotion(registry.client, MODEL, 3)
            gates = {"slow": slow}
            apply(registry.client, registry.settings, plan, gates, "ann", "why", force=True)
        elif action == "back":
            plan = plan_rollback(registry.client, MODEL)
            apply(registry.client, registry.settings, plan, {}, "ann")
        else:
            registry.promote(int(action))
        chain = ledger.read_chain(registry.client, MODEL)
        facts = {
            one.run_id: (one.sequence, one.action, one.to_version, one.who, one.reason, one.at)
            for one in chain
        }
        assert list(facts)[: len(known)] == list(known)
        assert {run: facts[run] for run in known} == known
        known = facts
    assert len(known) == 6
