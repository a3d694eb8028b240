"""Promotions and rollbacks: one consistent chain, whoever releases and whatever dies."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trivet.errors import (
    Difference,
    RegistryUnavailable,
    ReleaseConflict,
    ReleaseRefused,
    TrivetError,
    UnknownModel,
)
from trivet.registry import claim, ledger
from trivet.registry.client import connect
from trivet.registry.gate import Verdict
from trivet.registry.plan import plan_acceptance, plan_promotion, plan_rollback
from trivet.registry.release import accept, apply, mend

from .toy import MODEL

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal

    from .conftest import Registry


DIFFERENCE = Difference(column="age", aspect="dtype", contract="float64", feast="int64")


def refuse(proposal: Proposal) -> Verdict:
    """Be a gate that finds one column of another dtype."""
    return Verdict(passed=False, sentences=("1 difference.",), differences=(DIFFERENCE,))


def passing(proposal: Proposal) -> Verdict:
    """Be a gate that has nothing against it, and has measured something."""
    return Verdict(passed=True, sentences=("It is fine.",), figures={"auc": 0.75})


def roll_back(registry: Registry, steps: int = 1) -> ledger.Release:
    """Plan and apply a rollback."""
    plan = plan_rollback(registry.client, MODEL, steps=steps)
    return apply(registry.client, registry.settings, plan, {}, "ann")


def chain(registry: Registry) -> tuple[ledger.Release, ...]:
    """Return the ledger as it is now."""
    return ledger.read_chain(registry.client, MODEL)


def story(registry: Registry) -> list[tuple[str, int | None, int | None]]:
    """Return the ledger without its opening, as (action, from, to)."""
    return [(one.action, one.from_version, one.to_version) for one in chain(registry)[1:]]


def start(registry: Registry, version: int, who: str, *more: str) -> subprocess.Popen[str]:
    """Start a releasing process."""
    script = Path(__file__).with_name("releasing.py")
    return subprocess.Popen(
        [sys.executable, str(script), str(registry.settings.root), str(version), who, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until_planned(process: subprocess.Popen[str]) -> None:
    """Return when the process waits for the word to go."""
    assert process.stdout is not None
    assert process.stdout.readline() == "planned\n"


def test_planning_writes_nothing(registry: Registry) -> None:
    """Neither alias nor ledger exist after it."""
    plan = plan_promotion(registry.client, MODEL, 2)
    assert (plan.from_version, plan.to_version, plan.changes) == (None, 2, ("champion: none -> 2",))
    assert registry.alias is None
    assert chain(registry) == ()


def test_a_promotion_moves_the_alias_and_is_told_in_the_ledger(registry: Registry) -> None:
    """Who, why, when, from and to."""
    release = registry.promote(1)
    assert registry.alias == 1
    assert (release.who, release.reason, release.finished) == ("ann", "a test", True)
    assert [one.sequence for one in chain(registry)] == [0, 1]


def test_rolling_back_twice_goes_back_two(registry: Registry) -> None:
    """And each step is an entry of its own."""
    for version in (1, 2, 3):
        registry.promote(version)
    assert [roll_back(registry).to_version, roll_back(registry).to_version] == [2, 1]
    assert registry.alias == 1
    assert story(registry)[-2:] == [("rollback", 3, 2), ("rollback", 2, 1)]


def test_two_steps_can_be_taken_at_once(registry: Registry) -> None:
    """Then it is one entry, and the next step goes on from there."""
    for version in (1, 2, 3, 1):
        registry.promote(version)
    assert roll_back(registry, steps=2).to_version == 2
    assert roll_back(registry).to_version == 1


def test_there_is_nothing_before_the_first_version(registry: Registry) -> None:
    """The alias stays where it is."""
    with pytest.raises(ReleaseRefused, match="no champion yet"):
        plan_rollback(registry.client, MODEL)
    registry.promote(1)
    with pytest.raises(ReleaseRefused, match="nothing to return to"):
        plan_rollback(registry.client, MODEL)
    assert registry.alias == 1


def test_a_rollback_to_a_deleted_version_names_the_nearest_that_is_left(
    registry: Registry,
) -> None:
    """Nobody has to search for it while the champion misbehaves."""
    for version in (1, 2, 3):
        registry.promote(version)
    registry.client.delete_model_version(MODEL, "2")
    with pytest.raises(ReleaseRefused, match=r"toy version 2.*was deleted.*Version 1, champion 2"):
        plan_rollback(registry.client, MODEL)


def test_the_champion_is_not_promoted_again(registry: Registry) -> None:
    """It would make the next rollback a step to itself."""
    registry.promote(1)
    with pytest.raises(ReleaseRefused, match="toy version 1 is the champion already"):
        plan_promotion(registry.client, MODEL, 1)


def test_an_unknown_version_is_refused(registry: Registry) -> None:
    """With those that exist."""
    with pytest.raises(UnknownModel, match="versions: 1, 2, 3"):
        plan_promotion(registry.client, MODEL, 9)


def test_a_plan_that_was_overtaken_is_not_applied(registry: Registry) -> None:
    """What was promised to change from is not what would change."""
    registry.promote(1)
    plan = plan_promotion(registry.client, MODEL, 2)
    registry.promote(3, who="bea")
    with pytest.raises(ReleaseConflict, match="bea released version 3 of toy first"):
        apply(registry.client, registry.settings, plan, {}, "ann")
    assert registry.alias == 3


def test_a_promotion_over_an_alias_moved_by_hand_starts_from_the_ledger(
    registry: Registry,
) -> None:
    """The hand's version never was a release; the plan shows where the alias is."""
    registry.promote(1)
    registry.move_alias(2)
    plan = plan_promotion(registry.client, MODEL, 3)
    assert (plan.from_version, plan.alias) == (1, 2)
    apply(registry.client, registry.settings, plan, {}, "ann")
    assert story(registry)[-1] == ("promote", 1, 3)


def test_an_alias_moved_by_hand_becomes_a_release_of_its_own(registry: Registry) -> None:
    """And can be rolled back like any other."""
    registry.promote(1)
    registry.move_alias(3)
    accept(registry.client, registry.settings, MODEL, {})
    assert story(registry)[-1] == ("accept", 1, 3)
    assert roll_back(registry).to_version == 1


def test_there_is_nothing_to_accept_where_alias_and_ledger_agree(registry: Registry) -> None:
    """Also before the first release."""
    with pytest.raises(ReleaseRefused, match="not moved by hand"):
        plan_acceptance(registry.client, MODEL)


def test_a_release_that_was_outrun_leaves_the_alias_to_the_newest(registry: Registry) -> None:
    """A process that slept between claim and alias wakes up to find the ledger gone on."""
    first = registry.promote(1)
    registry.promote(2)
    claim.finish(registry.client, MODEL, first)
    assert registry.alias == 2


def test_a_release_whose_version_was_deleted_does_not_block_the_ledger(
    registry: Registry,
) -> None:
    """It is finished without its alias; the next release goes on from there."""
    registry.promote(1)
    second = registry.promote(2)
    registry.client.update_run(second.run_id, status="RUNNING")
    registry.client.delete_model_version(MODEL, "2")
    registry.promote(3)
    assert all(one.finished for one in chain(registry)[:-1])
    assert registry.alias == 3


def test_a_ledger_whose_run_was_deleted_still_reads_whole(registry: Registry) -> None:
    """Deleting in `mlflow ui` hides a run, it does not break the chain."""
    first = registry.promote(1)
    registry.promote(2)
    registry.client.delete_run(first.run_id)
    assert story(registry) == [("promote", None, 1), ("promote", 1, 2)]


def test_a_ledger_whose_newest_run_was_deleted_says_how_to_go_on(registry: Registry) -> None:
    """MLflow writes no parameter to a deleted run."""
    first = registry.promote(1)
    registry.client.delete_run(first.run_id)
    with pytest.raises(ReleaseRefused, match=f"mlflow runs restore --run-id {first.run_id}"):
        registry.promote(2)
    assert registry.alias == 1


def test_an_experiment_that_only_has_the_name_is_not_taken_for_a_ledger(
    registry: Registry,
) -> None:
    """Somebody else's runs are not read as releases."""
    registry.client.create_experiment(ledger.experiment_name(MODEL))
    with pytest.raises(ReleaseRefused, match="is not a ledger"):
        plan_promotion(registry.client, MODEL, 1)


def test_a_long_ledger_is_read_page_by_page(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No entry is lost at a page's edge."""
    for version in (1, 2, 3, 1, 2, 3, 1):
        registry.promote(version)
    whole = registry.client.search_runs
    monkeypatch.setattr(
        registry.client, "search_runs", lambda ids, **more: whole(ids, max_results=3, **more)
    )
    assert [one.to_version for one in chain(registry)[1:]] == [1, 2, 3, 1, 2, 3, 1]


def test_many_first_releases_at_once_open_one_ledger(registry: Registry) -> None:
    """Whoever loses finds the winner's ledger and a winner's name in it."""
    plans = [plan_promotion(registry.client, MODEL, version) for version in (1, 2, 3)] * 2

    def release(index: int) -> str:
        client = connect(registry.settings)
        try:
            apply(client, registry.settings, plans[index], {}, f"person {index}")
        except TrivetError as err:
            return str(err)
        return "released"

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(release, range(6)))
    assert said.count("released") == 1
    (entry,) = chain(registry)[1:]
    assert entry.who == f"person {said.index('released')}"
    assert all(f"{entry.who} released" in one for one in said if one != "released")
    assert registry.alias == entry.to_version


def test_a_ledger_that_somebody_else_opened_first_is_taken(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by an account that may not delete the entry that it had made for its own."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    def deny(run_id: str) -> None:
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    registry.promote(1)
    monkeypatch.setattr(claim, "find_experiment", lambda *_: None)
    monkeypatch.setattr(registry.client, "delete_run", deny)
    opened = claim.open_ledger(registry.client, registry.settings, MODEL, datetime.now(UTC))
    assert opened.run_id == chain(registry)[0].run_id


def test_four_processes_releasing_at_once_make_one_chain(registry: Registry) -> None:
    """One wins; each loser names the winner, and history does not show it."""
    registry.promote(1)
    people = ["ann", "bea", "cid", "dan"]
    processes = [start(registry, 2 + n % 2, who) for n, who in enumerate(people)]
    for process in processes:
        wait_until_planned(process)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    (entry,) = chain(registry)[2:]
    winner = people.index(entry.who)
    assert said[winner] == f"released {entry.to_version}"
    losers = said[:winner] + said[winner + 1 :]
    sentence = f"ReleaseConflict: {entry.who} released version {entry.to_version} of toy first"
    assert all(one.startswith(sentence) for one in losers)
    assert registry.alias == entry.to_version
    runs = registry.client.search_runs(
        [registry.client.get_experiment_by_name(ledger.experiment_name(MODEL)).experiment_id]
    )
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


@pytest.mark.parametrize("arrived", [True, False])
def test_a_claim_without_an_answer_is_judged_by_what_the_ledger_says(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    """It may have arrived, and then it is a release; if not, MLflow is said to be down."""
    from mlflow.exceptions import MlflowException

    registry.promote(1)
    log_param = registry.client.log_param

    def lose(*param: str) -> None:
        if arrived:
            log_param(*param)
        raise MlflowException("API request failed: the connection was reset")

    monkeypatch.setattr(registry.client, "log_param", lose)
    if arrived:
        assert registry.promote(2).finished
    else:
        with pytest.raises(RegistryUnavailable, match="the connection was reset"):
            registry.promote(2)
    assert registry.alias == len(chain(registry)[1:]) == (2 if arrived else 1)


@pytest.mark.parametrize("dies_before", ["alias", "finish"])
def test_a_release_that_died_on_the_way_is_finished_by_the_next_command(
    registry: Registry, dies_before: str
) -> None:
    """It was claimed, so it is a release; nobody is asked to repair anything."""
    registry.promote(1)
    process = start(registry, 2, "ann", dies_before)
    wait_until_planned(process)
    process.communicate("\n", timeout=60)
    assert process.returncode == 9
    assert not chain(registry)[-1].finished
    assert plan_promotion(registry.client, MODEL, 3).from_version == 2
    roll_back(registry)
    assert story(registry) == [("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1)]
    assert all(one.finished for one in chain(registry))
    assert registry.alias == 1


def test_mending_moves_the_alias_and_is_done_once(registry: Registry) -> None:
    """The command for whoever does not want to release anything."""
    registry.promote(1)
    second = registry.promote(2)
    registry.client.update_run(second.run_id, status="RUNNING")
    registry.move_alias(1)
    assert [mend(registry.client, MODEL), mend(registry.client, MODEL)] == [True, False]
    assert registry.alias == 2
