"""After two months the year of the example has run out: it is moved to today and trained anew."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journey import Project, Service

from .conftest import BENTO, ROWS, example
from .registry import MODEL, Registry
from .traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The move of the year under steady traffic: what it said, and who answered meanwhile."""

    told: str
    traffic: Traffic
    versions: list[int]
    """Those before it."""


@pytest.fixture(scope="module")
def move(project: Project, service: Service, registry: Registry) -> Move:
    """Let the data have run out, and do what `make run` then does."""
    redating = project.root / "data" / "flights" / "redating.json"
    written = json.loads(redating.read_text())
    written["data_until"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    redating.write_text(json.dumps(written))
    versions = registry.versions
    prepare = f"import journey; journey.prepare(rows={ROWS})"
    with Traffic(service, example(service), senders=1, pause=0.1) as traffic:
        told = project.run("python", "-c", prepare, cwd=BENTO).stderr
        traffic.settle(registry.aliases["champion"], within=20)
    return Move(told=told, traffic=traffic, versions=versions)


def test_it_says_what_it_does(move: Move) -> None:
    """Nobody has to guess why a model is trained that nobody asked for."""
    assert "The data has run out" in move.told
    assert re.findall(r"^✓ ([^:\n]+?)(?=:| [\d.]+ s$)", move.told, flags=re.MULTILINE) == [
        "Flights of 2013, moved to today",
        "Users of the tutorial",
        "Feature definitions",
        "Features online",
        "Training",
        "Release",
    ]


def test_the_data_lies_in_a_feast_project_of_its_own(move: Move, project: Project) -> None:
    """Values of the year's old place and of its new one never mix."""
    new = the_project(project.root)
    assert new == f"flights_{datetime.now(UTC):%Y_%m_%d}"
    redating = json.loads((project.root / "data" / "flights" / "redating.json").read_text())
    assert redating["project"] == new
    assert datetime.fromisoformat(redating["data_until"]) > datetime.now(UTC) + timedelta(days=30)


def test_the_released_version_was_trained_on_the_new_project(
    move: Move, project: Project, registry: Registry
) -> None:
    """Its contract names the project from which it is served; the old versions keep theirs."""
    champion = registry.aliases["champion"]
    assert champion not in move.versions
    assert registry.contract(champion)["project"] == the_project(project.root)
    assert registry.contract(move.versions[0])["project"] == "flights"


def test_the_running_service_follows_into_the_new_project(
    move: Move, project: Project, service: Service, registry: Registry
) -> None:
    """Not one request fails, and the new version has fresh features."""
    assert move.traffic.failed == []
    assert move.traffic.answers[0].version == 1
    assert service.get("/contract").json()["project"] == the_project(project.root)
    answer = service.post("/predict", example(service)).json()
    assert answer["model"] == {"name": MODEL, "version": registry.aliases["champion"]}
    missing = {entry["column"] for entry in answer["missing"] if entry["why"] != "null"}
    assert not [name for name in missing if not name.startswith(("leg_", "plane_"))]


def the_project(root: Path) -> str:
    """Return the Feast project that feature_store.yaml names."""
    text = (root / "feature_repo" / "feature_store.yaml").read_text()
    (name,) = re.findall(r"^project: (\S+)$", text, flags=re.MULTILINE)
    return name
