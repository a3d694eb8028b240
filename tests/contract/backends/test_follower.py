"""A host serves what the ledger says, whatever the registry lies on."""

from __future__ import annotations

import pytest

from integration.registry.toy import MODEL, refuse
from trivet.registry.download import verify
from trivet.registry.follower import Follower
from trivet.registry.gate import Gates

from .conftest import Environment, Registry


def follower(registry: Registry, gates: Gates | None = None) -> Follower:
    """Return a follower of the toy model."""
    return Follower(registry.settings, MODEL, gates_factory=lambda _: gates or {})


def test_a_release_is_live_with_its_files_on_the_host(registry: Registry) -> None:
    """And a release later the one before it is kept beside it."""
    watching = follower(registry)
    watching.step()
    assert registry.shelf.read_live() is None
    for version in (1, 2):
        release = registry.promote(version)
        watching.step()
    live = registry.shelf.read_live()
    assert live is not None
    assert (live.champion, live.release, live.refused) == (2, release.run_id, None)
    assert {one.version for one in live.versions} == {1, 2}
    for one in live.versions:
        verify(registry.shelf.path(one.digest), one.digest, MODEL)


def test_an_alias_moved_by_hand_is_noticed_and_accepted(registry: Registry) -> None:
    """It takes two looks to see that it was a hand."""
    registry.promote(1)
    watching = follower(registry)
    watching.step()
    registry.move_alias(3)
    for _ in range(3):
        watching.step()
    live = registry.shelf.read_live()
    assert live is not None
    assert (live.champion, live.refused) == (3, None)
    assert registry.story[-1] == ("accept", 1, 3)


def test_an_alias_moved_by_hand_to_what_does_not_fit_is_refused(registry: Registry) -> None:
    """The version that answers stays, and the live state says why."""
    registry.promote(1)
    watching = follower(registry, {"features": refuse})
    watching.step()
    registry.move_alias(2)
    for _ in range(3):
        watching.step()
    live = registry.shelf.read_live()
    assert live is not None
    assert live.champion == 1
    assert "Version 2" in (live.refused or "")
    assert len(registry.chain) == 2


def test_nothing_that_signs_in_stands_in_the_live_state(
    registry: Registry, environment: Environment
) -> None:
    """Neither passwords nor keys, nor an address that may hold some."""
    registry.promote(1)
    follower(registry).step()
    written = registry.shelf.live_file.read_text()
    hidden = [value for name, value in environment.items() if "PASSWORD" in name or "KEY" in name]
    assert not [value for value in [*hidden, "://"] if value in written]


@pytest.fixture
def environment(backend: str, environment_of: object) -> Environment:
    """Return the variables of the backend."""
    assert callable(environment_of)
    return environment_of(backend)[0]
