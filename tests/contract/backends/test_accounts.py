"""A server with accounts says who may do what; whoever may not is told so, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx
import pytest

from integration.registry.toy import MODEL, register
from trivet.errors import RegistryDenied
from trivet.registry.client import connect
from trivet.registry.follower import Follower
from trivet.registry.ledger import experiment_name
from trivet.registry.plan import plan_promotion
from trivet.registry.versions import list_versions, read_aliases

from .conftest import Registry
from .servers import ADMIN, ADMIN_PASSWORD

EXPERIMENTS = ("trivet/releases", experiment_name(MODEL), MODEL)
GRANT = "3.0/mlflow/users/permissions/grant"
PASSWORD = "pass-of-everybody-1"  # noqa: S105 - of accounts that live as long as the tests
ACCOUNTS: Mapping[str, Mapping[str, str]] = {
    "reader": {},
    "half": {"registered_model": "EDIT"},
    "editor": {"registered_model": "EDIT", "experiment": "EDIT"},
}
"""What each may do beside READ, which everybody may."""

Become = Callable[..., None]


@pytest.fixture
def backend() -> str:
    """Only one backend asks who calls."""
    return "server with accounts, artifacts through it"


@pytest.fixture
def become(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Have the registry's calls made by another account from now on, made where there is none."""

    def ask(path: str, **body: str) -> httpx.Response:
        url = f"{registry.settings.tracking_uri}/api/{path}"
        return httpx.post(url, json=body, auth=(ADMIN, ADMIN_PASSWORD), timeout=30)

    def grant(name: str) -> None:
        made = ask("2.0/mlflow/users/create", username=name, password=PASSWORD)
        assert made.is_success or "already exists" in made.text, made.text
        found = [registry.client.get_experiment_by_name(one) for one in EXPERIMENTS]
        ids = [one.experiment_id for one in found if one is not None]
        for kind, permission in ACCOUNTS[name].items():
            for resource in [MODEL] if kind == "registered_model" else ids:
                what = {"resource_type": kind, "resource_id": resource, "permission": permission}
                assert ask(GRANT, username=name, **what).is_success

    def become(name: str | None, password: str = PASSWORD) -> None:
        if name in ACCOUNTS:
            grant(name)
        for variable, value in (("USERNAME", name), ("PASSWORD", password)):
            if name is None:
                monkeypatch.delenv(f"MLFLOW_TRACKING_{variable}")
            else:
                monkeypatch.setenv(f"MLFLOW_TRACKING_{variable}", str(value))
        registry.client = connect(registry.settings)

    return become


def test_a_wrong_password_is_told_from_a_server_that_is_down(
    registry: Registry, become: Become
) -> None:
    """The sentence names the account and what to set; the password is nowhere in it."""
    become(ADMIN, "not-the-pass-1")
    with pytest.raises(RegistryDenied, match="does not let the account boss in") as caught:
        list_versions(registry.client, MODEL)
    assert caught.value.exit_code == 1
    assert "MLFLOW_TRACKING_PASSWORD" in (caught.value.hint or "")
    assert "not-the-pass-1" not in str(caught.value)


def test_whoever_names_no_account_is_told_how(registry: Registry, become: Become) -> None:
    """It is the first thing that happens to somebody new."""
    become(None)
    with pytest.raises(RegistryDenied, match="does not let anybody without an account in"):
        read_aliases(registry.client, MODEL)


@pytest.mark.parametrize("name", ["reader", "half"])
def test_whoever_may_not_release_is_told_so_and_nothing_has_changed(
    registry: Registry, become: Become, name: str
) -> None:
    """Neither where there is a ledger of somebody else's. Reading and planning they may."""
    registry.promote(1)
    before = (registry.alias, registry.chain)
    become(name)
    plan = plan_promotion(registry.client, MODEL, 2)
    assert plan.from_version == 1
    with pytest.raises(RegistryDenied, match=f"does not permit the account {name}") as caught:
        registry.promote(2)
    assert "EDIT on the registered model" in (caught.value.hint or "")
    become(ADMIN, ADMIN_PASSWORD)
    assert (registry.alias, registry.chain) == before


def test_whoever_may_only_read_does_not_open_a_ledger(registry: Registry, become: Become) -> None:
    """They may make experiments there; a claim in one of theirs would be carried out by others."""
    become("reader")
    with pytest.raises(RegistryDenied, match="does not permit the account reader"):
        registry.promote(1)
    become(ADMIN, ADMIN_PASSWORD)
    assert (registry.alias, registry.chain) == (None, ())


def test_whoever_may_edit_model_and_experiments_may_register_and_release(
    registry: Registry, become: Become
) -> None:
    """Nobody needs to be the administrator for it."""
    registry.promote(1)
    become("editor")
    version = register(registry.client, registry.settings, 8)
    assert registry.promote(version, who="editor").to_version == version
    assert registry.alias == version


def test_a_follower_that_may_only_read_follows_and_leaves_a_moved_alias_to_others(
    registry: Registry, become: Become
) -> None:
    """What it cannot accept is said in the live state; the alias stays where the hand put it."""
    registry.promote(1)
    become("reader")
    watching = Follower(registry.settings, MODEL)
    watching.step()
    become(ADMIN, ADMIN_PASSWORD)
    registry.promote(2)
    registry.move_alias(3)
    become("reader")
    for _ in range(3):
        watching.step()
    live = registry.shelf.read_live()
    assert live is not None
    assert live.champion == 2
    assert "does not permit the account reader" in (live.refused or "")
    assert registry.alias == 3
    assert len(registry.chain) == 3
