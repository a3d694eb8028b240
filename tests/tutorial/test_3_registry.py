"""Section 3: register, promote, roll back; the versions with their states, and the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from journey import Project
from trivet.registry.client import connect
from trivet.registry.ledger import read_chain
from trivet.registry.versions import list_versions
from trivet.settings import load_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "tutorial_classifier"


@pytest.fixture
def client(classifier: Project, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Open the project's registry, to look at it between the commands that release."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "TRIVET_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return connect(load_settings(classifier.root))


def test_a_registered_version_is_a_candidate_until_it_is_promoted(client: MlflowClient) -> None:
    """Registering alone releases nothing: no alias, no history."""
    assert _states(client) == {1: "candidate", 2: "candidate"}
    assert read_chain(client, MODEL) == ()


def test_releases_move_the_states_and_rolling_back_twice_goes_back_two(
    classifier: Project, client: MlflowClient
) -> None:
    """After 1, 2, 1 it returns to 2, then to the first 1, and not to and fro."""
    classifier.run("trivet", "promote", MODEL, "1")
    assert _states(client) == {1: "champion", 2: "candidate"}
    classifier.run("trivet", "promote", MODEL, "2")
    assert _states(client) == {1: "previous", 2: "champion"}
    classifier.run("trivet", "promote", MODEL, "1")
    assert _states(client) == {1: "champion", 2: "previous"}
    classifier.run("trivet", "rollback", MODEL)
    assert _states(client) == {1: "previous", 2: "champion"}
    classifier.run("trivet", "rollback", MODEL)
    assert _states(client) == {1: "champion", 2: "archived"}

    refused = classifier.run("trivet", "rollback", MODEL, code=1)
    assert "nothing to return to" in refused.stderr
    assert client.get_model_version_by_alias(MODEL, "champion").version == 1

    releases = classifier.json("trivet", "history", MODEL, "--json")
    assert [
        (entry["action"], entry["from_version"], entry["to_version"]) for entry in releases
    ] == [
        ("rollback", 2, 1),
        ("rollback", 1, 2),
        ("promote", 2, 1),
        ("promote", 1, 2),
        ("promote", None, 1),
    ]


def test_an_unknown_version_is_not_promoted(classifier: Project, client: MlflowClient) -> None:
    """The refusal is wrong usage, names the versions that there are, and changes nothing."""
    refused = classifier.run("trivet", "promote", MODEL, "7", code=2)
    assert "versions: 1, 2" in refused.stderr
    assert read_chain(client, MODEL) == ()


def _states(client: MlflowClient) -> dict[int, str]:
    return {entry.version: entry.state for entry in list_versions(client, MODEL)}
