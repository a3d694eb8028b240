"""The model slot of a worker: the versions that answer now, and how they are swapped.

A thread looks at the host's live state. When it changes, new versions are loaded and warmed beside
the old ones; then one assignment swaps them. A request keeps the version that it began with, so an old
one is gone when its last request is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trivet.canary.state import Canary, Shadow
from trivet.errors import NoChampion, TrivetError, VersionNotLoaded
from trivet.live import FeatureCheck, Live, LoadedVersion, Shelf
from trivet.serving.loaded import Version

log = logging.getLogger("trivet.serving")

_RETRY_SECONDS = 5.0
"""How long after a version could not be loaded it is tried again."""

Load = Callable[[LoadedVersion], Version]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a worker answers with at one moment; replaced as a whole."""

    champion: Version | None = None
    by_number: MappingProxyType[int, Version] = field(default_factory=lambda: MappingProxyType({}))
    by_alias: MappingProxyType[str, int] = field(default_factory=lambda: MappingProxyType({}))
    canary: Canary | None = None
    shadow: Shadow | None = None


class Slot:
    """Holds the loaded versions of one model, and follows the host's live state."""

    def __init__(
        self,
        shelf: Shelf,
        load: Load,
        *,
        on_swap: Callable[[int], None],
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """`load` makes a version ready; `on_swap` is told each new champion.

        `on_look` is called after each look that found something new, swapped or refused.
        """
        self._shelf = shelf
        self._load = load
        self._on_swap = on_swap
        self._on_look = on_look
        self._loaded = Loaded()
        self._seen: tuple[int, int] | None = None
        self._check: FeatureCheck | None = None
        self._check_seen: tuple[int, int] | None = None
        self._retry_at: float | None = None
        self._stop = threading.Event()
        self._said: dict[int, str] = {}
        self.refused: str | None = None
        """Why the live state on disk is not the one that answers; None when it is."""

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
        checked = self._look_at_check()
        if self._look_at_live() or checked:
            self._on_look()

    @property
    def check(self) -> FeatureCheck | None:
        """What the follower last found of the champion's features; None: not looked at yet."""
        champion, check = self._loaded.champion, self._check
        if champion is None or check is None or check.digest != champion.digest:
            return None
        return check

    def _look_at_check(self) -> bool:
        mark = _mark(self._shelf.features_file)
        if mark is None or mark == self._check_seen:
            return False
        self._check_seen = mark
        self._check = self._shelf.read_check()
        return True

    def _look_at_live(self) -> bool:
        mark = _mark(self._shelf.live_file)
        due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if mark is None or (mark == self._seen and not due):
            return False
        self._seen = mark
        self._retry_at = None
        live = self._shelf.read_live()
        if live is not None and not self._swap(live):
            # What stood in the way may pass, such as a feature registry that is down.
            self._retry_at = time.monotonic() + _RETRY_SECONDS
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
        """Return whether every version of the live state is loaded now."""
        ready = {entry.version: self._ready(entry) for entry in live.versions}
        versions = {number: v for number, v in ready.items() if isinstance(v, Version)}
        if live.champion not in versions:
            self.refused = f"version {live.champion}: {ready.get(live.champion, 'has no copy')}"
            self._say(logging.ERROR, f"not released here: {self.refused}")
            return False
        before = self._loaded.champion
        self._loaded = Loaded(
            champion=versions[live.champion],
            by_number=MappingProxyType(versions),
            by_alias=MappingProxyType(
                {alias: e.version for e in live.versions for alias in e.aliases}
            ),
            canary=live.canary,
            shadow=live.shadow,
        )
        self.refused = live.refused
        self._on_swap(live.champion)
        if before is None or before.number != live.champion:
            self._say(logging.INFO, f"version {live.champion} answers now")
        for number, why in ready.items():
            if isinstance(why, str):
                self._say(logging.WARNING, f"version {number} is not loaded: {why}")
        return len(versions) == len(ready)

    def _say(self, level: int, sentence: str) -> None:
        """Log a sentence unless it was the last one of its level: a retry says nothing new."""
        if self._said.get(level) != sentence:
            self._said[level] = sentence
            log.log(level, "%s: %s", self._shelf.model, sentence)

    def _ready(self, entry: LoadedVersion) -> Version | str:
        """Return the version, loaded already or now, or the reason why it cannot be."""
        have = self._loaded.by_number.get(entry.version)
        if have is not None and have.digest == entry.digest:
            return have
        try:
            return self._load(entry)
        except TrivetError as err:
            return str(err)
        except Exception as err:
            log.exception("%s: version %d cannot be loaded", self._shelf.model, entry.version)
            return f"{type(err).__name__}: {err}"

    def describe(self) -> dict[str, Any]:
        """Return what is loaded, as the readiness details show it."""
        loaded = self._loaded
        return {
            "model": self._shelf.model,
            "champion": None if loaded.champion is None else loaded.champion.number,
            "versions": sorted(loaded.by_number),
            "refused": self.refused,
            "features": _shown(self.check),
            "canary": None if loaded.canary is None else loaded.canary.version,
            "shadow": None if loaded.shadow is None else loaded.shadow.version,
        }


def _mark(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _shown(check: FeatureCheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    return {
        "ok": None if check.unchecked else not check.differences,
        "checked_at": check.at.isoformat(),
        "differences": [asdict(difference) for difference in check.differences],
        "unchecked": check.unchecked,
    }
