"""Versions are registered, listed, released and rolled back alike on every backend."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from integration.registry.toy import MODEL, refuse, register
from trivet.errors import (
    ContractUnreadable,
    GatesRefused,
    ReleaseConflict,
    ReleaseRefused,
    UnknownModel,
    VersionCorrupt,
)
from trivet.registry import forced
from trivet.registry.download import download_run_file, fetch, read_contract, verify
from trivet.registry.gate import Verdict
from trivet.registry.plan import plan_acceptance, plan_promotion, plan_rollback
from trivet.registry.release import accept, apply, mend
from trivet.registry.standing import model_names, registered_on
from trivet.registry.versions import existing_versions, list_versions

from .conftest import Registry


def test_a_version_is_registered_with_its_contract_and_comes_back_whole(
    registry: Registry, tmp_path: Path
) -> None:
    """Every file is the one that the contract names, and the evidence lies with its run."""
    version = register(registry.client, registry.settings, 4)
    digest = fetch(registry.client, MODEL, version, registry.shelf)
    contract = verify(registry.shelf.path(digest), digest, MODEL)
    assert contract == read_contract(registry.client, MODEL, version)
    assert set(contract.files) == {"model.skops", "trivet/preprocess.py"}
    file = download_run_file(registry.client, MODEL, version, "feast_features.json", tmp_path)
    assert json.loads(file.read_text()) == {"features": ["users:age"]}
    assert version in existing_versions(registry.client, MODEL)


def test_a_version_whose_artifacts_are_gone_is_refused_by_what_is_missing(
    registry: Registry,
) -> None:
    """One file, and then all of them; the store answers, so it is not said to be down."""
    version = register(registry.client, registry.settings, 7)
    uri = registry.client.get_model_version_download_uri(MODEL, str(version))
    store = get_artifact_repository(uri, tracking_uri=registry.client.tracking_uri)
    try:
        store.delete_artifacts("model.skops")
        with pytest.raises(VersionCorrupt, match=rf"model\.skops of toy version {version} is miss"):
            fetch(registry.client, MODEL, version, registry.shelf)
        store.delete_artifacts()
        with pytest.raises(ContractUnreadable, match=r"has no trivet/contract\.json"):
            plan_promotion(registry.client, MODEL, version)
        with pytest.raises(VersionCorrupt):
            fetch(registry.client, MODEL, version, registry.shelf)
    finally:
        registry.client.delete_model_version(MODEL, str(version))


def test_versions_are_listed_with_what_a_release_decides_on(registry: Registry) -> None:
    """State, alias, metrics and digest; numbers are numbers on every backend."""
    registry.promote(1)
    registry.promote(3)
    listed = list_versions(registry.client, MODEL)[:3]
    assert [(one.version, one.state) for one in listed] == [
        (1, "previous"),
        (2, "candidate"),
        (3, "champion"),
    ]
    assert listed[2].aliases == ("champion",)
    assert listed[0].metrics == {"accuracy": 0.6}
    assert listed[0].digest == read_contract(registry.client, MODEL, 1).digest


def test_every_model_is_found_with_its_standing(registry: Registry) -> None:
    """What looks over all of them goes by the tags of versions."""
    assert list(model_names(registry.client)) == [MODEL]
    assert registered_on(registry.client, registry.settings, "another project") == ()


def test_promotions_and_rollbacks_move_the_alias_and_stand_in_the_ledger(
    registry: Registry,
) -> None:
    """Who, why, from and to, without a gap; stepping back twice goes back two."""
    for version in (1, 2, 3):
        registry.promote(version)
    for _ in range(2):
        plan = plan_rollback(registry.client, MODEL)
        apply(registry.client, registry.settings, plan, {}, "bea", "it was slow")
    assert registry.story == [
        ("promote", None, 1),
        ("promote", 1, 2),
        ("promote", 2, 3),
        ("rollback", 3, 2),
        ("rollback", 2, 1),
    ]
    chain = registry.chain
    assert [one.sequence for one in chain] == [0, 1, 2, 3, 4, 5]
    assert (chain[-1].who, chain[-1].reason) == ("bea", "it was slow")
    assert all(one.finished for one in chain)
    assert registry.alias == 1


def test_the_gates_report_lies_with_the_release(registry: Registry, tmp_path: Path) -> None:
    """It is an artifact of the run."""
    release = registry.promote(1, {"features": lambda _: Verdict(passed=True)})
    file = registry.client.download_artifacts(release.run_id, "gates.json", str(tmp_path))
    report = json.loads(Path(file).read_text())
    (gate,) = report["gates"]
    assert (gate["gate"], gate["passed"], gate["differences"]) == ("features", True, [])


def test_a_refusal_leaves_alias_and_ledger_as_they_were(registry: Registry) -> None:
    """A gate, a version that is none, the champion again, and nothing to return to."""
    registry.promote(1)
    before = (registry.alias, registry.chain)
    with pytest.raises(GatesRefused):
        registry.promote(2, {"features": refuse})
    with pytest.raises(UnknownModel, match=r"toy has no version 99; versions: 1, 2, 3"):
        registry.promote(99)
    with pytest.raises(ReleaseRefused, match="toy version 1 is the champion already"):
        registry.promote(1)
    with pytest.raises(ReleaseRefused, match="nothing to return to"):
        plan_rollback(registry.client, MODEL)
    assert (registry.alias, registry.chain) == before


def test_a_plan_that_was_overtaken_is_not_applied(registry: Registry) -> None:
    """Whoever came first is named."""
    registry.promote(1)
    plan = plan_promotion(registry.client, MODEL, 2)
    registry.promote(3, who="bea")
    with pytest.raises(ReleaseConflict, match="bea released version 3 of toy first"):
        apply(registry.client, registry.settings, plan, {}, "ann")
    assert registry.alias == 3


def test_a_rollback_to_a_deleted_version_names_the_nearest_that_is_left(
    registry: Registry,
) -> None:
    """A version deleted in MLflow is not brought back."""
    gone = register(registry.client, registry.settings, 5)
    for version in (1, gone, 3):
        registry.promote(version)
    registry.client.delete_model_version(MODEL, str(gone))
    with pytest.raises(
        ReleaseRefused, match=rf"version {gone}.*was deleted.*Version 1, champion 2"
    ):
        plan_rollback(registry.client, MODEL)


def test_an_alias_moved_by_hand_becomes_a_release_of_its_own(registry: Registry) -> None:
    """And where it was not moved, there is nothing to accept."""
    registry.promote(1)
    with pytest.raises(ReleaseRefused, match="not moved by hand"):
        plan_acceptance(registry.client, MODEL)
    registry.move_alias(3)
    accept(registry.client, registry.settings, MODEL, {})
    assert registry.story[-1] == ("accept", 1, 3)


def test_an_interrupted_release_is_finished_once(registry: Registry) -> None:
    """By whoever comes next."""
    registry.promote(1)
    second = registry.promote(2)
    registry.client.update_run(second.run_id, status="RUNNING")
    registry.move_alias(1)
    assert [mend(registry.client, MODEL), mend(registry.client, MODEL)] == [True, False]
    assert registry.alias == 2


def test_a_forced_application_of_features_is_kept_and_found(registry: Registry) -> None:
    """With who and why."""
    told = forced.Forced(
        who="ann",
        reason="a column is renamed",
        at=datetime.now(UTC).replace(microsecond=0),
        broken="toy version 2",
    )
    with forced.recorded(registry.client, registry.settings, "tiny", told, {"broken": []}):
        pass
    assert forced.last_forced(registry.client, "tiny") == told
