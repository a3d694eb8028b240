"""Which version a job runs, and its files on this host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from trivet.batch.holding import holding, one_at_a_time
from trivet.batch.job import Wanted
from trivet.errors import ArtifactsUnavailable, RegistryUnavailable, UnknownModel
from trivet.live import Shelf
from trivet.registry.claim import CHAMPION
from trivet.registry.client import connect, require_database
from trivet.registry.download import fetch, verify
from trivet.registry.versions import read_aliases
from trivet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A version whose files are here, verified."""

    version: int
    digest: str
    folder: Path
    note: str | None = None
    """What was amiss; None: nothing."""


@contextmanager
def held_version(
    settings: Settings,
    model: str,
    version: int | None,
    alias: str | None,
    begun: Wanted | None = None,
) -> Iterator[Located]:
    """Bring a version to this host, and hold it there; while MLflow is down, take what is here of it.

    Batch jobs keep their copies apart: a follower takes away what its service does not answer with.

    Args:
        settings: of the project.
        model: the registered model.
        version: its number; None: that of the alias.
        alias: None: the version that the job was begun with, or else the champion.
        begun: what the job that is to go on was asked for; None: it is new.

    Raises:
        UnknownModel: there is no such version, model or alias.
        VersionCorrupt: a file is not the one that the contract names.
        RegistryUnavailable: MLflow does not answer, and the version is not here.
    """
    begun = begun if begun is not None and begun.model == model else None
    batch = settings.home / "batch"
    with ExitStack() as stack:
        # What one process brings is not to be swept by another one before it is held.
        with one_at_a_time(batch / "lock"):
            found = _locate(settings, model, version, alias, begun)
            if found.folder.is_relative_to(batch):
                stack.enter_context(holding(found.folder))
        yield found


def _locate(
    settings: Settings, model: str, version: int | None, alias: str | None, begun: Wanted | None
) -> Located:
    stays = begun is not None and version is None and alias is None
    if begun is not None and stays:
        version = begun.version
    alias = alias or CHAMPION
    try:
        require_database(settings)
        client = connect(settings)
        aliases = read_aliases(client, model) if version is None or stays else {}
        number = _of_alias(model, alias, aliases) if version is None else version
        shelf = Shelf(settings.home / "batch", model)
        digest = fetch(client, model, number, shelf)
        moved = stays and aliases.get(alias) != number
        note = f"The job was begun with version {number}, and goes on with it." if moved else None
        return Located(version=number, digest=digest, folder=shelf.path(digest), note=note)
    except (RegistryUnavailable, ArtifactsUnavailable) as err:
        found = _of_job(settings, version, begun) or _of_service(settings, model, version, alias)
        if found is None:
            raise
        verify(found.folder, found.digest, f"{model} version {found.version}")
        return replace(found, note=f"MLflow does not answer: {found.note} ({err.sentence})")


def _of_alias(model: str, alias: str, aliases: dict[str, int]) -> int:
    if alias not in aliases:
        known = ", ".join(aliases) or "none"
        raise UnknownModel(
            f"{model} has no alias {alias}; aliases: {known}.",
            hint="--version N takes any version; trivet promote makes a champion.",
        )
    return aliases[alias]


def _of_job(settings: Settings, version: int | None, begun: Wanted | None) -> Located | None:
    """Return the copy that a job was begun with."""
    if begun is None or begun.version != version:
        return None
    folder = Shelf(settings.home / "batch", begun.model).path(begun.contract_digest)
    if not folder.is_dir():
        return None
    note = f"version {version} is as the job was begun with it."
    return Located(version=version, digest=begun.contract_digest, folder=folder, note=note)


def _of_service(settings: Settings, model: str, version: int | None, alias: str) -> Located | None:
    """Return what a service on this host has."""
    shelf = Shelf(settings.home, model)
    live = shelf.read_live()
    if live is None:
        return None
    for entry in live.versions:
        champion = alias == CHAMPION and entry.version == live.champion
        if entry.version == version or (version is None and (champion or alias in entry.aliases)):
            folder, number = shelf.path(entry.digest), entry.version
            note = f"version {number} is as a service on this host has it."
            return Located(version=number, digest=entry.digest, folder=folder, note=note)
    return None
