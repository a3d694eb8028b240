"""Every registered version with features from a Feast project, those that matter most first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trivet.contract import Contract, parse_contract
from trivet.errors import ContractUnreadable, VersionCorrupt
from trivet.live import CONTRACT, Shelf
from trivet.registry import ledger
from trivet.registry.client import translated
from trivet.registry.download import read_contract
from trivet.registry.versions import DIGEST_TAG, read_aliases, search_versions, state_of
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Standing = Literal["champion", "challenger", "previous", "candidate", "archived"]

_ORDER: Sequence[Standing] = ("champion", "challenger", "previous", "candidate", "archived")
_CHALLENGER = "challenger"
_PROJECT_TAG = "feast.project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version with a contract on the project."""

    model: str
    version: int
    standing: Standing
    contract: Contract | None
    """None where it cannot be read."""
    unreadable: str | None = None


def registered_on(client: MlflowClient, settings: Settings, project: str) -> tuple[Registered, ...]:
    """Return the versions of every model whose features come from a Feast project.

    Champions first, then challengers, previous ones, candidates and the rest; the newest first.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    found = [
        each
        for model in model_names(client)
        for each in _of_model(client, settings, model, project)
    ]
    return tuple(
        sorted(found, key=lambda each: (_ORDER.index(each.standing), each.model, -each.version))
    )


def model_names(client: MlflowClient) -> Iterator[str]:
    """Yield the names of all registered models."""
    token: str | None = None
    with translated(client):
        while True:
            page = client.search_registered_models(page_token=token)
            yield from (str(model.name) for model in page)
            token = page.token
            if not token:
                return


def _of_model(
    client: MlflowClient, settings: Settings, model: str, project: str
) -> Iterable[Registered]:
    entries = [
        entry
        for entry in search_versions(client, model)
        if DIGEST_TAG in entry.tags and entry.tags.get(_PROJECT_TAG, project) == project
    ]
    if not entries:
        return
    chain = ledger.read_chain(client, model)
    aliases = read_aliases(client, model)
    shelf = Shelf(settings.home, model)
    for entry in entries:
        version = int(entry.version)
        standing = _standing(version, chain, aliases)
        try:
            contract = _contract(client, shelf, entry)
        except (ContractUnreadable, VersionCorrupt) as err:
            yield Registered(
                model=model,
                version=version,
                standing=standing,
                contract=None,
                unreadable=err.sentence,
            )
            continue
        if contract.project == project:
            yield Registered(model=model, version=version, standing=standing, contract=contract)


def _standing(
    version: int, chain: Sequence[ledger.Release], aliases: Mapping[str, int]
) -> Standing:
    state = state_of(version, chain)
    if state != "champion" and aliases.get(_CHALLENGER) == version:
        return "challenger"
    return state


def _contract(client: MlflowClient, shelf: Shelf, entry: ModelVersion) -> Contract:
    """Return a version's contract: this host's copy, if there is one, else MLflow's."""
    digest = entry.tags[DIGEST_TAG]
    try:
        contract = parse_contract((shelf.path(digest) / CONTRACT).read_bytes())
    except (OSError, ContractUnreadable):
        return read_contract(client, shelf.model, int(entry.version))
    if contract.digest == digest:
        return contract
    return read_contract(client, shelf.model, int(entry.version))
