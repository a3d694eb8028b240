"""Versions change while requests run: each release is followed, and not one request fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from journey import Project, Service

from .conftest import example
from .processes import Imports
from .registry import MODEL, Registry
from .traffic import Traffic

FOLLOWED_WITHIN = 3.0
CHECKED_WITHIN = 30.0
"""For an alias that was moved by hand, whose version has to pass the gates first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One release: when it was begun and had been made, and when the last old answer was begun."""

    version: int
    begun: float
    made: float
    old_until: float
    settled: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The releases of a day, and the requests that were answered meanwhile."""

    traffic: Traffic
    by_hand: Change
    commanded: list[Change]
    changes: list[Change]
    releases: list[tuple[str, str]]
    """What the ledger has got by them."""


@pytest.fixture(scope="module")
def story(project: Project, service: Service, registry: Registry) -> Story:
    """Promote, move the alias by hand, and roll back twice, under steady traffic."""
    before = len(registry.releases)
    with Traffic(service, example(service)) as traffic:
        traffic.settle(1, within=10)

        def change(version: int, action: Callable[[], object], within: float) -> Change:
            begun = time.monotonic()
            action()
            made = time.monotonic()
            old_until = traffic.settle(version, within)
            settled = time.monotonic()
            return Change(
                version=version, begun=begun, made=made, old_until=old_until, settled=settled
            )

        def command(version: int, *words: str) -> Change:
            return change(version, lambda: project.run("trivet", *words), FOLLOWED_WITHIN + 5)

        changes = [
            command(2, "promote", MODEL, "2", "--reason", "better on winter days"),
            change(3, lambda: registry.point("champion", 3), CHECKED_WITHIN),
            command(2, "rollback", MODEL),
            command(1, "rollback", MODEL),
        ]
    promoted, by_hand, *rolled_back = changes
    return Story(
        traffic=traffic,
        by_hand=by_hand,
        commanded=[promoted, *rolled_back],
        changes=changes,
        releases=registry.releases[before:],
    )


def test_not_one_request_fails_while_versions_change(story: Story) -> None:
    """Every answer is a prediction, and names the version that made it."""
    assert story.traffic.failed == []
    assert {one.version for one in story.traffic.answers} == {1, 2, 3}


def test_a_release_is_followed_within_three_seconds(story: Story) -> None:
    """In every worker, counted from the end of the command, without a restart."""
    late = [one.old_until - one.made for one in story.commanded]
    assert max(late) < FOLLOWED_WITHIN, late


def test_after_a_release_only_its_version_answers(story: Story) -> None:
    """Until the next one is made; and during a change nothing but the old and the new one."""
    for this, following in pairwise(story.changes):
        assert story.traffic.versions(this.settled, following.begun) <= {this.version}
        between = story.traffic.versions(this.settled, following.settled)
        assert between == {this.version, following.version}


def test_rolling_back_twice_goes_back_two_releases(story: Story) -> None:
    """And not to and fro between the last two."""
    assert [change.version for change in story.changes] == [2, 3, 2, 1]


def test_an_alias_moved_by_hand_is_taken_as_a_release(story: Story, project: Project) -> None:
    """It stands in the ledger as what it was, and a rollback goes back to what was before it."""
    assert story.releases == [
        ("promote", "2"),
        ("accept", "3"),
        ("rollback", "2"),
        ("rollback", "1"),
    ]
    history = project.json("trivet", "history", MODEL, "--json")
    (accepted,) = (entry for entry in history if entry["action"] == "accept")
    assert (accepted["from_version"], accepted["to_version"]) == (2, 3)
    assert accepted["who"] == "somebody in MLflow"
    assert all(entry["finished"] for entry in history)


def test_the_versions_have_their_states(story: Story, project: Project) -> None:
    """`trivet models` shows which answers, which was released once, and which can be released."""
    versions = project.json("trivet", "models", MODEL, "--json")
    assert {one["version"]: one["state"] for one in versions} == {
        1: "champion",
        2: "archived",
        3: "archived",
    }
    assert all("auc_macro" in one["metrics"] and one["digest"] for one in versions[:2])


def test_the_workers_have_not_imported_mlflow_for_any_of_it(
    story: Story, service: Service, imports: Imports
) -> None:
    """The follower has brought the versions; the workers have only read its copies."""
    workers = {int(one.replica.rpartition("-")[2]) for one in story.traffic.answers if one.replica}
    assert len(workers) == service.workers
    assert not [pid for pid in workers if "mlflow" in imports.of(pid)]


def test_a_promotion_is_refused_where_a_feature_has_another_type(
    story: Story,
    project: Project,
    service: Service,
    registry: Registry,
    body: dict[str, Any],
) -> None:
    """The column is shown with both types; alias, ledger and service stay as they were."""
    definitions = project.root / "feature_repo" / "flight_features.py"
    text = definitions.read_text()
    other = text.replace('"plane_seats", dtype=Int64', '"plane_seats", dtype=Float64')
    assert other != text
    aliases, releases = registry.aliases, registry.releases
    definitions.write_text(other)
    try:
        project.run("feast", "apply", cwd="feature_repo")
        refused = project.run("trivet", "promote", MODEL, "2", code=1)
    finally:
        definitions.write_text(text)
        project.run("feast", "apply", cwd="feature_repo")
    assert "refused by features. Nothing was changed." in refused.stderr
    (row,) = (line.split() for line in refused.stdout.splitlines() if "plane_seats" in line)
    assert row == ["features", "plane:plane_seats", "dtype", "int64", "float64"]
    assert (registry.aliases, registry.releases) == (aliases, releases)
    assert service.post("/predict", body).json()["model"]["version"] == 1
    assert service.get("/status").json()["refused"] is None
