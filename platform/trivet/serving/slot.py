"""The model slot of a worker: the versions that answer now, and how they are swapped.

A thread looks at the host's live state. When it changes, the new champion is loaded and warmed beside
the old one; then one assignment swaps them. A champion that is loaded already, as after a rollback, is
there at once. The others follow in the order of the live state, as long as there is memory for them.
A request keeps the version that it began with, so an old one is gone when its last request is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trivet.canary.state import Canary, Shadow
from trivet.errors import NoChampion, TrivetError, VersionNotLoaded, VersionTooLarge
from trivet.live import Contact, FeatureCheck, Live, LoadedVersion, Shelf
from trivet.serving.loaded import Version
from trivet.serving.room import Room
from trivet.serving.shown import shown, told
from trivet.serving.watched import Watched

log = logging.getLogger("trivet.serving")

_RETRY_SECONDS = 5.0
"""How long after a version could not be loaded it is tried again; twice as long each time after."""
_MOST_RETRY_SECONDS = 60.0
_ANY = 2**63
"""Bytes: no limit."""

Load = Callable[[LoadedVersion, Room], Version]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a worker answers with at one moment; replaced as a whole."""

    champion: Version | None = None
    by_number: MappingProxyType[int, Version] = field(default_factory=lambda: MappingProxyType({}))
    by_alias: MappingProxyType[str, int] = field(default_factory=lambda: MappingProxyType({}))
    canary: Canary | None = None
    shadow: Shadow | None = None

    @property
    def canary_here(self) -> Canary | None:
        """The canary, if this worker has its version."""
        canary = self.canary
        return canary if canary is not None and canary.version in self.by_number else None


class Slot:
    """Holds the loaded versions of one model, and follows the host's live state."""

    def __init__(
        self,
        shelf: Shelf,
        load: Load,
        *,
        on_swap: Callable[[int], None],
        on_look: Callable[[], None] = lambda: None,
        most_bytes: int = _ANY,
    ) -> None:
        """Nothing is loaded before the first look.

        Args:
            shelf: of the model.
            load: makes a version ready.
            on_swap: is told each new champion.
            on_look: is called after each look that found something new, swapped or refused.
            most_bytes: of memory for all loaded versions. One that is being loaded, and the old
                champion until the new one answers, come on top of it.
        """
        self._shelf = shelf
        self._load = load
        self._on_swap = on_swap
        self._on_look = on_look
        self._loaded = Loaded()
        self._most = most_bytes
        self._sizes: dict[str, int] = {}
        self._live_file = Watched(shelf.live_file)
        self._check_file = Watched(shelf.features_file)
        self._contact_file = Watched(shelf.contact_file)
        self._check: FeatureCheck | None = None
        self._retry_at: float | None = None
        self._retry_seconds = _RETRY_SECONDS
        self._stop = threading.Event()
        self._said: dict[int | None, str] = {}
        self.refused: str | None = None
        """Why the live state on disk is not the one that answers; None when it is."""
        self.left_out: dict[int, str] = {}
        """Versions that should be ready and are not, and why."""
        self.contact: Contact | None = None
        """Whether the follower reaches the registry; None: it has not said yet."""

    def start(self, every_seconds: float) -> None:
        """Load what is live, then follow it in a thread until `stop`."""
        self.look()
        threading.Thread(
            target=self._follow, args=(every_seconds,), name="trivet-slot", daemon=True
        ).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    @property
    def model(self) -> str:
        """Name of the model whose versions these are."""
        return self._shelf.model

    @property
    def loaded(self) -> Loaded:
        """What answers now."""
        return self._loaded

    @property
    def held_bytes(self) -> int:
        """Bytes that the loaded versions take, as far as that is known."""
        return _size(self._loaded.by_number.values())

    def champion(self) -> Version:
        """Return the live version.

        Raises:
            NoChampion: nothing has been released, or the release could not be loaded.
        """
        if (version := self._loaded.champion) is None:
            raise NoChampion(self._shelf.model)
        return version

    def version(self, wanted: str) -> Version:
        """Return a loaded version by its number, as a route writes it.

        Raises:
            VersionNotLoaded: it is not here, or no number.
        """
        numbers = {str(number): number for number in self._loaded.by_number}
        return self._one(numbers.get(wanted), f"version {wanted[:20]}")

    def alias(self, name: str) -> Version:
        """Return a loaded version by an alias; see `version`."""
        return self._one(self._loaded.by_alias.get(name), f"alias {name!r}")

    def look(self) -> None:
        """Compare with the live state on disk, and swap if it has changed."""
        news = [self._look_at_check(), self._look_at_contact(), self._look_at_live()]
        if any(news):
            self._on_look()

    @property
    def check(self) -> FeatureCheck | None:
        """What the follower last found of the champion's features; None: not looked at yet."""
        champion, check = self._loaded.champion, self._check
        if champion is None or check is None or check.digest != champion.digest:
            return None
        return check

    def _look_at_check(self) -> bool:
        if not self._check_file.is_new():
            return False
        self._check = self._shelf.read_check()
        return True

    def _look_at_contact(self) -> bool:
        if not self._contact_file.is_new():
            return False
        before, self.contact = self.contact, self._shelf.read_contact()
        if self.contact is not None and not self.contact.ok:
            log.warning(
                "%s: the last good version serves from its local copy, as the registry is away: %s",
                self._shelf.model,
                self.contact.why,
            )
        elif before is not None and not before.ok:
            log.warning("%s: the registry answers again", self._shelf.model)
        return True

    def _look_at_live(self) -> bool:
        due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if self._live_file.is_new():
            self._retry_seconds = _RETRY_SECONDS
        elif not due:
            return False
        self._retry_at = None
        live = self._shelf.read_live()
        if live is not None and not self._swap(live):
            # What stood in the way may pass, such as a feature registry that is down.
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _MOST_RETRY_SECONDS)
        return True

    def _one(self, number: int | None, wanted: str) -> Version:
        loaded = self._loaded
        if number is None or number not in loaded.by_number:
            raise VersionNotLoaded(self._shelf.model, wanted, sorted(loaded.by_number))
        return loaded.by_number[number]

    def _follow(self, every_seconds: float) -> None:
        while not self._stop.wait(every_seconds):
            try:
                self.look()
            except Exception:
                log.exception("%s: the live state could not be followed", self._shelf.model)

    def _swap(self, live: Live) -> bool:
        """Make the live state what answers; return False where another try may do more."""
        entry = next((one for one in live.versions if one.version == live.champion), None)
        champion = "has no copy" if entry is None else self._ready(entry, self._most)
        if not isinstance(champion, Version):
            self.refused = f"version {live.champion}: {champion}"
            self._say(None, logging.ERROR, f"not released here: {self.refused}")
            return isinstance(champion, VersionTooLarge)
        before = self._loaded.champion
        self._answer_with(live, [champion])
        self.refused = live.refused
        self._on_swap(champion.number)
        if before is None or before.number != champion.number:
            self._say(None, logging.INFO, f"version {champion.number} answers now")
        return self._load_others(live, champion)

    def _load_others(self, live: Live, champion: Version) -> bool:
        """Load what is missing, the more important first; see `_swap`."""
        ready, left_out, again = [champion], {}, False
        for entry in live.versions:
            if entry.version == champion.number:
                continue
            one = self._ready(entry, self._most - _size(ready))
            if isinstance(one, Version):
                ready.append(one)
                self._answer_with(live, ready)
            else:
                left_out[entry.version] = str(one)
                again = again or not isinstance(one, VersionTooLarge)
                self._say(entry.version, logging.WARNING, f"not loaded: {one}")
        for number in self.left_out.keys() - left_out:
            self._said.pop(number, None)
        self.left_out = left_out
        self._answer_with(live, ready)
        return not again

    def _answer_with(self, live: Live, ready: list[Version]) -> None:
        """Answer with these versions, and as long as there is room with others loaded before."""
        wanted = {(entry.version, entry.digest) for entry in live.versions}
        chosen = {one.number: one for one in ready}
        for number, one in self._loaded.by_number.items():
            fits = _size(chosen.values()) + one.size <= self._most
            if number not in chosen and (number, one.digest) in wanted and fits:
                chosen[number] = one
        self._loaded = Loaded(
            champion=ready[0],
            by_number=MappingProxyType(chosen),
            by_alias=MappingProxyType(
                {alias: e.version for e in live.versions for alias in e.aliases}
            ),
            canary=live.canary,
            shadow=live.shadow,
        )

    def _say(self, about: int | None, level: int, sentence: str) -> None:
        """Log a sentence unless it was the last one about that: a retry says nothing new."""
        if self._said.get(about) != sentence:
            self._said[about] = sentence
            of = "" if about is None else f"version {about} is "
            log.log(level, "%s: %s%s", self._shelf.model, of, sentence)

    def _ready(self, entry: LoadedVersion, left: int) -> Version | Exception:
        """Return the version, loaded already or now, or what stands in the way."""
        room = Room(left=left, most=self._most)
        have = self._loaded.by_number.get(entry.version)
        try:
            # It is not loaded only to find again that it does not fit.
            room.require(entry.version, self._sizes.get(entry.digest, 0))
            if have is None or have.digest != entry.digest:
                have = self._load(entry, room)
                self._sizes[entry.digest] = have.size
        except TrivetError as err:
            return err.with_traceback(None)
        except Exception as err:
            log.exception("%s: version %d cannot be loaded", self._shelf.model, entry.version)
            return RuntimeError(f"{type(err).__name__}: {err}")
        return have

    def describe(self) -> dict[str, Any]:
        """Return what is loaded, as the readiness details show it."""
        loaded = self._loaded
        return {
            "model": self._shelf.model,
            "champion": None if loaded.champion is None else loaded.champion.number,
            "versions": sorted(loaded.by_number),
            "left_out": {str(number): why for number, why in sorted(self.left_out.items())},
            "bytes": self.held_bytes,
            "refused": self.refused,
            "registry": told(self.contact),
            "features": shown(self.check),
            "canary": None if loaded.canary is None else loaded.canary.version,
            "shadow": None if loaded.shadow is None else loaded.shadow.version,
        }


def _size(versions: Iterable[Version]) -> int:
    return sum(version.size for version in versions)
