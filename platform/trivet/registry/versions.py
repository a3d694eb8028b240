"""What versions a model has, and what each is by the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from trivet.canary.state import TAGS
from trivet.errors import ContractUnreadable, UnknownModel
from trivet.registry import ledger
from trivet.registry.client import translated

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DIGEST_TAG = "trivet.contract_digest"
RUNTIME_TAG = "trivet.runtime"

State = Literal["candidate", "champion", "previous", "archived"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """One line of the list of a model's versions."""

    version: int
    state: State
    aliases: tuple[str, ...]
    metrics: Mapping[str, float]
    digest: str | None
    """Of the contract; None for a version that somebody registered without one."""
    runtime: str | None
    created: datetime
    run_id: str | None
    project: str | None = None
    """The Feast project that its features come from, by the tag that Feast's integration reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointers:
    """What stands at a registered model and says which versions are to run."""

    aliases: Mapping[str, int]
    tags: Mapping[str, str]
    """Those of a canary and a shadow."""


def list_versions(client: MlflowClient, model: str) -> tuple[VersionSummary, ...]:
    """Return every version of the model, oldest first, with its state by the ledger.

    Raises:
        UnknownModel: there is no such model.
        RegistryUnavailable: MLflow does not answer.
    """
    aliases = read_aliases(client, model)
    chain = ledger.read_chain(client, model)
    entries = sorted(search_versions(client, model), key=lambda entry: int(entry.version))
    return tuple(_summary(client, entry, chain, aliases) for entry in entries)


def state_of(version: int, chain: Sequence[ledger.Release]) -> State:
    """Return what a version is by the ledger: never released, live, before it, or left behind."""
    released = ledger.stack(chain)
    if released[-1:] == (version,):
        return "champion"
    if released[-2:-1] == (version,):
        return "previous"
    return "archived" if any(version == entry.to_version for entry in chain) else "candidate"


def find_version(client: MlflowClient, model: str, version: int) -> ModelVersion:
    """Return MLflow's entry of a version.

    Raises:
        UnknownModel: there is none; the sentence names those that exist.
        RegistryUnavailable: MLflow does not answer.
    """
    try:
        with translated(client):
            return client.get_model_version(model, str(version))
    except UnknownModel as err:
        numbers = ", ".join(str(v) for v in existing_versions(client, model)) or "none"
        raise UnknownModel(f"{model} has no version {version}; versions: {numbers}.") from err


def existing_versions(client: MlflowClient, model: str) -> tuple[int, ...]:
    """Return the numbers of the model's versions, ascending."""
    return tuple(sorted(int(entry.version) for entry in search_versions(client, model)))


def read_aliases(client: MlflowClient, model: str) -> dict[str, int]:
    """Return the model's aliases and the versions they point to, in one call.

    Raises:
        UnknownModel: there is no such model.
        RegistryUnavailable: MLflow does not answer.
    """
    return dict(read_pointers(client, model).aliases)


def read_pointers(client: MlflowClient, model: str) -> Pointers:
    """Return a model's aliases and tags, in one call; see `read_aliases`."""
    with translated(client, f"MLflow has no model {model}; trivet models lists those it has."):
        found = client.get_registered_model(model)
    # The numbers are integers on a database and strings over HTTP.
    aliases = {alias: int(version) for alias, version in sorted(found.aliases.items())}
    tags = {name: str(text) for name, text in found.tags.items() if name in TAGS.values()}
    return Pointers(aliases=aliases, tags=tags)


def digest_of(entry: ModelVersion) -> str:
    """Return the digest of the contract that a version was registered with.

    Raises:
        ContractUnreadable: it was registered without one.
    """
    digest = entry.tags.get(DIGEST_TAG)
    if digest is None:
        raise ContractUnreadable(
            f"{entry.name} version {entry.version} has no contract.",
            hint="Register it through Trivet's training; a contract is written at registration.",
        )
    return str(digest)


def search_versions(client: MlflowClient, model: str) -> Iterable[ModelVersion]:
    """Yield MLflow's entries of a model's versions; none where there is no such model."""
    token: str | None = None
    with translated(client):
        while True:
            page = client.search_model_versions(f"name = '{model}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _summary(
    client: MlflowClient,
    entry: ModelVersion,
    chain: Sequence[ledger.Release],
    aliases: Mapping[str, int],
) -> VersionSummary:
    version = int(entry.version)
    return VersionSummary(
        version=version,
        state=state_of(version, chain),
        aliases=tuple(alias for alias, number in aliases.items() if number == version),
        metrics=_metrics(client, entry.run_id),
        digest=entry.tags.get(DIGEST_TAG),
        runtime=entry.tags.get(RUNTIME_TAG),
        created=datetime.fromtimestamp(entry.creation_timestamp / 1000, tz=UTC),
        run_id=entry.run_id or None,
        project=entry.tags.get("feast.project"),
    )


def _metrics(client: MlflowClient, run_id: str | None) -> Mapping[str, float]:
    if not run_id:
        return {}
    try:
        with translated(client):
            return dict(client.get_run(run_id).data.metrics)
    except UnknownModel:  # the run was removed for good; the version lives on
        return {}
