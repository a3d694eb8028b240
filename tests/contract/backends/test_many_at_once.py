"""Twenty releases at once, from five processes: one consistent chain, and each loser is told why."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from integration.registry.toy import MODEL
from trivet.registry import claim, ledger
from trivet.registry.client import connect
from trivet.registry.plan import plan_promotion
from trivet.registry.release import mend

from .conftest import BACKENDS, Registry

PROCESSES, PEOPLE = 5, 4
_NOT_INHERITED = ("TRIVET_", "MLFLOW_", "AWS_", "COVERAGE_")
Said = Mapping[str, str]


class Office:
    """A process in which several people release."""

    def __init__(self) -> None:
        """Start it; it imports MLflow meanwhile."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "contract.backends.releasing"],
            cwd=Path(__file__).parents[2],
            env=kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, do: str, **order: Any) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """Return the answer to the last order."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait(30)}"
        return json.loads(line)

    def __enter__(self) -> Self:
        """Do nothing: it runs already."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def offices() -> Iterator[Sequence[Office]]:
    """Start five processes, which serve all tests."""
    with ExitStack() as ends:
        yield [ends.enter_context(Office()) for _ in range(PROCESSES)]


@pytest.fixture(
    params=[name for name in BACKENDS if name != "server on postgresql, artifacts in s3"]
)
def backend(request: pytest.FixtureRequest) -> str:
    """Each kind of store, and a server."""
    return request.param


def orders(registry: Registry) -> Mapping[str, Any]:
    """Return what a process needs to know of a registry."""
    environment = {k: v for k, v in os.environ.items() if k.startswith(("MLFLOW_", "AWS_"))}
    environment["MLFLOW_TRACKING_URI"] = registry.settings.tracking_uri
    return {"root": str(registry.settings.root), "environment": environment}


def release_at_once(
    registry: Registry, offices: Sequence[Office], versions: Sequence[int], *, early: int
) -> Said:
    """Have twenty people release these versions in turn, and return what each was told.

    Args:
        registry: of the model.
        offices: in which the people are.
        versions: that they want; one each, over and over.
        early: how many of the four in each process have planned before all apply.
    """
    for number, office in enumerate(offices):
        people = [
            (f"p{number}{one}", versions[(number + one) % len(versions)], one < early)
            for one in range(PEOPLE)
        ]
        office.tell("plan", people=people, **orders(registry))
    assert [office.hear() for office in offices] == [{"planned": PEOPLE}] * PROCESSES
    for office in offices:
        office.tell("apply")
    said = {who: what for office in offices for who, what in office.hear()["said"]}
    assert len(said) == PROCESSES * PEOPLE
    return said


def see_one_consistent_chain(registry: Registry) -> tuple[ledger.Release, ...]:
    """Check what must hold of every ledger, and return it."""
    chain = registry.chain
    assert [one.sequence for one in chain] == list(range(len(chain)))
    assert [one.successor for one in chain] == [*(one.run_id for one in chain[1:]), None]
    assert [one.from_version for one in chain[2:]] == [one.to_version for one in chain[1:-1]]
    assert all(one.finished for one in chain)
    assert registry.alias == chain[-1].to_version
    runs = [registry.client.get_run(one.run_id) for one in chain[1:]]
    assert [run.data.params["previous"] for run in runs] == [one.run_id for one in chain[:-1]]
    return chain


def see_losers_are_no_releases(registry: Registry) -> None:
    """Check that every other run of the ledger says to whom it lost."""
    ids = {one.run_id for one in registry.chain}
    experiment = registry.client.get_experiment_by_name(ledger.experiment_name(MODEL))
    for run in registry.client.search_runs([experiment.experiment_id]):
        if run.info.run_id not in ids:
            assert run.info.status == "KILLED"
            assert run.data.tags["trivet.lost_to"] in ids


def winners(said: Said) -> list[str]:
    """Return who was told to have released."""
    return [who for who, what in said.items() if what.startswith("released")]


def test_of_twenty_first_releases_one_opens_the_ledger(
    registry: Registry, offices: Sequence[Office]
) -> None:
    """There is neither ledger nor alias; nineteen are told who was first, and with which version."""
    said = release_at_once(registry, offices, (1, 2, 3), early=PEOPLE)
    chain = see_one_consistent_chain(registry)
    (entry,) = chain[1:]
    assert winners(said) == [entry.who]
    told = f"ReleaseConflict: {entry.who} released version {entry.to_version} of toy first"
    assert [what for who, what in said.items() if who != entry.who and told not in what] == []
    see_losers_are_no_releases(registry)


def test_of_twenty_that_plan_at_all_moments_each_wins_a_place_or_is_told_why(
    registry: Registry, offices: Sequence[Office]
) -> None:
    """Half of them have planned before, half plan among releases that are under way."""
    registry.promote(1)
    said = release_at_once(registry, offices, (2, 3), early=PEOPLE // 2)
    chain = see_one_consistent_chain(registry)
    assert sorted(winners(said)) == sorted(one.who for one in chain[2:])
    released = {f"{one.who} released version {one.to_version} of toy first" for one in chain[2:]}
    for who in said.keys() - set(winners(said)):
        why = re.sub(r"^ReleaseConflict: | \(.*", "", said[who])
        refused = re.fullmatch(
            r"ReleaseRefused: toy version \d is the champion already\.", said[who]
        )
        assert why in released or refused, said[who]
    see_losers_are_no_releases(registry)


def test_many_that_finish_one_release_at_once_set_its_alias_for_the_first_time(
    registry: Registry,
) -> None:
    """The database lets only one make the alias; for the others it is there then."""
    release = registry.promote(1)
    registry.client.update_run(release.run_id, status="RUNNING")
    registry.client.delete_registered_model_alias(MODEL, claim.CHAMPION)
    clients = [connect(registry.settings) for _ in range(8)]
    with ThreadPoolExecutor(len(clients)) as pool:
        done = list(pool.map(lambda client: claim.finish(client, MODEL, release), clients))
    assert all(one.finished for one in done)
    see_one_consistent_chain(registry)


def test_a_release_killed_between_its_claim_and_its_end_is_finished_by_the_next_command(
    registry: Registry,
) -> None:
    """It was claimed, so it is a release: planning sees it, and mending moves its alias, once."""
    registry.promote(1)
    with Office() as office:
        office.tell("plan", people=[("ann", 2, True)], dies=True, **orders(registry))
        assert office.hear() == {"planned": 1}
        office.tell("apply")
        assert office.process.wait(60) == -9
    assert (registry.chain[-1].finished, registry.alias) == (False, 1)
    assert plan_promotion(registry.client, MODEL, 3).from_version == 2
    assert [mend(registry.client, MODEL), mend(registry.client, MODEL)] == [True, False]
    assert registry.alias == 2
    registry.promote(3)
    see_one_consistent_chain(registry)
