"""Put on a host's shelf what a release means, and then say so in the live state."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trivet.errors import RegistryUnavailable, TrivetError
from trivet.live import Live, LoadedVersion, Shelf
from trivet.registry.download import fetch
from trivet.registry.ledger import Release, stack
from trivet.registry.sweep import sweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a host should have, by ledger and aliases."""

    champion: int
    release: str
    """Run id of the release that made it champion."""
    others: tuple[int, ...]
    """Versions to hold ready beside it, the more important first: the one before it, then the newest of
    those that have an alias."""
    aliases: Mapping[str, int]
    refused: str | None
    """What the registry asks for beyond this, and why it is not followed."""


def wanted_of(
    chain: Sequence[Release], aliases: Mapping[str, int], refused: str | None = None
) -> Wanted:
    """Return what a chain with at least one release asks a host to have."""
    released = stack(chain)
    champion, previous = released[-1], released[-2:-1]
    aliased = sorted({*aliases.values()} - {champion, *previous}, reverse=True)
    return Wanted(
        champion=champion,
        release=chain[-1].run_id,
        others=(*previous, *aliased),
        aliases=aliases,
        refused=refused,
    )


def follow(client: MlflowClient, shelf: Shelf, wanted: Wanted, now: datetime) -> None:
    """Bring the versions that are wanted to this host; the champion is live as soon as it is here.

    Raises:
        TrivetError: the champion cannot be brought or is corrupt; what was live stays.
    """
    champion = _bring(client, shelf, wanted.champion, wanted.aliases)
    live = shelf.read_live()
    known = {one.version: one for one in live.versions} if live is not None else {}
    if live is not None and live.champion != champion.version:
        # The others may have to be brought first: nobody who waits for the champion waits for that.
        here = [_named(known[n], wanted.aliases) for n in wanted.others if n in known]
        _say(shelf, _state(shelf, wanted, (champion, *here), now), now)
    others = _bring_others(client, shelf, wanted)
    _say(shelf, _state(shelf, wanted, (champion, *others), now), now)


def refuse(shelf: Shelf, why: str | None, now: datetime) -> None:
    """Keep what is live, and show there why the registry is not followed; None: it is again."""
    live = shelf.read_live()
    if live is not None:
        _say(shelf, live.model_copy(update={"refused": why, "since": now}), now)
    elif why is not None:
        _log.error("%s: %s", shelf.model, why)


def _state(
    shelf: Shelf, wanted: Wanted, versions: tuple[LoadedVersion, ...], now: datetime
) -> Live:
    return Live(
        model=shelf.model,
        champion=wanted.champion,
        versions=versions,
        release=wanted.release,
        since=now,
        refused=wanted.refused,
    )


def _bring(
    client: MlflowClient, shelf: Shelf, version: int, aliases: Mapping[str, int]
) -> LoadedVersion:
    digest = fetch(client, shelf.model, version, shelf)
    return _named(LoadedVersion(version=version, digest=digest), aliases)


def _named(entry: LoadedVersion, aliases: Mapping[str, int]) -> LoadedVersion:
    names = tuple(alias for alias, number in sorted(aliases.items()) if number == entry.version)
    return entry.model_copy(update={"aliases": names})


def _bring_others(client: MlflowClient, shelf: Shelf, wanted: Wanted) -> Iterator[LoadedVersion]:
    for version in wanted.others:
        try:
            yield _bring(client, shelf, version, wanted.aliases)
        except RegistryUnavailable:
            raise
        except TrivetError as err:
            _log.warning("%s version %d is left out: %s", shelf.model, version, err)


def _say(shelf: Shelf, live: Live, now: datetime) -> None:
    before = shelf.read_live()
    if before is not None and live == before.model_copy(update={"since": live.since}):
        return
    shelf.write_live(live)
    if live.refused is not None:
        _log.error("%s: version %d stays live: %s", shelf.model, live.champion, live.refused)
    elif before is None or before.refused is not None or before.champion != live.champion:
        _log.info("%s: version %d is live", shelf.model, live.champion)
    sweep(shelf, before, live, now)
