"""Canaries and shadows begin, are followed and end alike on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.registry.toy import MODEL, refuse
from trivet.canary.state import TAGS, Canary, Kind, Shadow, State
from trivet.errors import GatesRefused
from trivet.registry import canary
from trivet.registry.gate import Gates
from trivet.registry.ledger import Release

from .conftest import Registry
from .test_follower import follower


@pytest.fixture
def released(registry: Registry) -> Iterator[Registry]:
    """Return the registry with version 1 released; the model is shared, so its tags go at the end."""
    registry.promote(1)
    yield registry
    for tag in TAGS.values():
        registry.client.delete_registered_model_tag(MODEL, tag)


def begin(registry: Registry, state: State, gates: Gates | None = None) -> Release:
    """Have a version run beside the champion."""
    return canary.begin(registry.client, registry.settings, MODEL, state, gates or {}, "ann")


def beside(registry: Registry) -> dict[Kind, int | None]:
    """Return what runs beside the champion on the host."""
    live = registry.shelf.read_live()
    assert live is not None
    return {
        "canary": live.canary and live.canary.version,
        "shadow": live.shadow and live.shadow.version,
    }


def test_they_are_followed_and_stand_in_the_ledger(released: Registry) -> None:
    """A release ends both, with an entry each."""
    watching = follower(released)
    begin(released, Canary(version=2, percent=10))
    begin(released, Shadow(version=3))
    watching.step()
    assert beside(released) == {"canary": 2, "shadow": 3}
    canary.end(released.client, released.settings, MODEL, "canary", "ann", "seen enough")
    watching.step()
    assert beside(released) == {"canary": None, "shadow": 3}
    released.promote(2)
    watching.step()
    assert beside(released) == {"canary": None, "shadow": None}
    assert [one.action for one in released.chain[1:]] == [
        *("promote", "canary", "shadow", "canary_end", "promote", "shadow_end")
    ]
    assert released.alias == 2


def test_one_that_does_not_fit_is_refused_and_nothing_has_changed(released: Registry) -> None:
    """Neither the ledger nor the model's tags."""
    before = released.chain
    with pytest.raises(GatesRefused) as refused:
        begin(released, Canary(version=2, percent=10), {"features": refuse})
    assert [one.aspect for one in refused.value.differences] == ["dtype"]
    assert released.chain == before
    tags = released.client.get_registered_model(MODEL).tags
    assert not set(TAGS.values()) & set(tags)
