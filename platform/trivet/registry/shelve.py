"""Put on a host's shelf what a release means, and then say so in the live state."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trivet.canary.state import Canary, Shadow
from trivet.errors import RegistryUnavailable, TrivetError
from trivet.live import Live, LoadedVersion, Shelf
from trivet.registry.download import fetch
from trivet.registry.ledger import Release, last, stack
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
    """Versions to hold ready beside it, the more important first: the one before it, canary and shadow,
    then the newest of those that have an alias."""
    aliases: Mapping[str, int]
    refused: str | None
    """What the registry asks for beyond this, and why it is not followed."""
    canary: Canary | None = None
    shadow: Shadow | None = None


def wanted_of(
    chain: Sequence[Release],
    aliases: Mapping[str, int],
    refused: str | None = None,
    canary: Canary | None = None,
    shadow: Shadow | None = None,
) -> Wanted:
    """Return what a chain with at least one release asks a host to have."""
    released = stack(chain)
    champion, previous, newest = released[-1], released[-2:-1], last(chain)
    beside = [state.version for state in (canary, shadow) if state is not None]
    first = dict.fromkeys([*previous, *beside])
    aliased = sorted({*aliases.values()} - {champion, *first}, reverse=True)
    return Wanted(
        champion=champion,
        release=chain[-1].run_id if newest is None else newest.run_id,
        others=(*(number for number in first if number != champion), *aliased),
        aliases=aliases,
        refused=refused,
        canary=canary,
        shadow=shadow,
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
    state = _state(shelf, wanted, (champion, *_bring_others(client, shelf, wanted)), now)
    left_out = " ".join(filter(None, [wanted.refused, *_missing(wanted, state)])) or None
    _say(shelf, state.model_copy(update={"refused": left_out}), now)


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
    here = {entry.version for entry in versions}
    return Live(
        model=shelf.model,
        champion=wanted.champion,
        versions=versions,
        release=wanted.release,
        since=now,
        refused=wanted.refused,
        canary=wanted.canary if wanted.canary and wanted.canary.version in here else None,
        shadow=wanted.shadow if wanted.shadow and wanted.shadow.version in here else None,
    )


def _missing(wanted: Wanted, state: Live) -> Iterator[str]:
    """Say which of canary and shadow could not be brought."""
    for kind, asked, have in (
        ("canary", wanted.canary, state.canary),
        ("shadow", wanted.shadow, state.shadow),
    ):
        if asked is not None and have is None:
            yield f"Version {asked.version}, the {kind}, could not be brought here; the log says why."


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
    elif before is None or before.refused is not None or _shown(before) != _shown(live):
        _log.info("%s: %s", shelf.model, _shown(live))
    sweep(shelf, before, live, now)


def _shown(live: Live) -> str:
    beside = (
        live.canary and f"canary {live.canary.version} at {live.canary.percent:g} %",
        live.shadow and f"shadow {live.shadow.version}",
    )
    return f"version {live.champion} is live" + "".join(f", {one}" for one in beside if one)
