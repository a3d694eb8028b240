"""The contract of a logged row is found on this host, or asked of MLflow."""

from __future__ import annotations

import pytest

from trivet.errors import UnknownModel
from trivet.live import CONTRACT
from trivet.registry.contracts import Contracts
from trivet.registry.download import fetch, read_contract

from .conftest import Registry
from .toy import MODEL


def test_mlflow_is_asked_for_what_this_host_has_no_copy_of(registry: Registry) -> None:
    """Its version says which."""
    known = read_contract(registry.client, MODEL, 2)
    assert Contracts(registry.settings, MODEL).find(2, known.digest) == known


def test_a_copy_on_this_host_is_enough(registry: Registry) -> None:
    """Also for a version that MLflow has lost."""
    digest = fetch(registry.client, MODEL, 2, registry.shelf)
    registry.client.delete_model_version(MODEL, "2")
    assert Contracts(registry.settings, MODEL).find(2, digest).digest == digest


@pytest.mark.parametrize("spoilt", ["", "{}", None])
def test_a_copy_that_is_not_the_one_is_not_taken(registry: Registry, spoilt: str | None) -> None:
    """A wrong file, or another contract in its place."""
    digest = fetch(registry.client, MODEL, 2, registry.shelf)
    other = registry.shelf.path(fetch(registry.client, MODEL, 3, registry.shelf)) / CONTRACT
    (registry.shelf.path(digest) / CONTRACT).write_text(
        other.read_text() if spoilt is None else spoilt
    )
    assert Contracts(registry.settings, MODEL).find(2, digest).digest == digest


def test_what_nobody_has_is_unknown(registry: Registry) -> None:
    """A deleted version, and one that is another contract's by now."""
    known = read_contract(registry.client, MODEL, 2)
    contracts = Contracts(registry.settings, MODEL)
    with pytest.raises(UnknownModel, match="version 3 is another one than what answered"):
        contracts.find(3, known.digest)
    registry.client.delete_model_version(MODEL, "2")
    with pytest.raises(UnknownModel, match="no version 2; versions: 1, 3"):
        contracts.find(2, known.digest)
