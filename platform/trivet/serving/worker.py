"""What one worker process holds: the slot, the data plane, and how versions are loaded into it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from trivet.clock import Clock, system_clock
from trivet.errors import TrivetError
from trivet.features.cache import RowCache
from trivet.features.importing import import_feast_unchecked
from trivet.live import LoadedVersion, Shelf
from trivet.registry.download import verify
from trivet.serving.dataplane import DataPlane
from trivet.serving.garbage import Keeper
from trivet.serving.loaded import FeatureSource, Version, load_version
from trivet.serving.log.sender import LogSender
from trivet.serving.metrics import Metrics
from trivet.serving.room import Room
from trivet.serving.slot import Slot
from trivet.serving.telling import Telling
from trivet.serving.trial_counts import TrialCounts
from trivet.serving.trial_metrics import TrialMetrics
from trivet.serving.yielding import yielding

if TYPE_CHECKING:
    from trivet.contract import Contract
    from trivet.serving.carried import CarriedCode
    from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

_LOOK_SECONDS = 0.1
"""How often a worker looks at the live state on disk: one `stat` call."""
_READY_SECONDS = 1.0
"""How long a readiness answer holds: probes must not load the feature store."""


class Worker:
    """The parts of one worker, wired."""

    def __init__(
        self,
        model: str,
        settings: Settings,
        clock: Clock = system_clock,
        *,
        shelf: Shelf | None = None,
        code: CarriedCode | None = None,
    ) -> None:
        """Load the live versions, if there are any, and follow the live state from then on.

        Args:
            model: the registered model's name.
            settings: of the project.
            clock: for TTLs and the log.
            shelf: where the versions lie; default: this host's.
            code: all that versions may run; default: they run their own.
        """
        self.settings = settings
        self._clock = clock
        self._shelf = shelf or Shelf(settings.home, model)
        self._code = code
        self._stores: dict[str | None, Any] = {}
        self._cache = RowCache(settings.cache_seconds, settings.cache_rows)
        self._ready_until = 0.0
        self._said = ""
        metrics = Metrics(model)
        self._metrics = metrics
        self.slot = Slot(
            self._shelf,
            self._load,
            on_swap=metrics.live,
            on_look=self._count_state,
            most_bytes=settings.versions_bytes,
        )
        self._log = _start_log(settings, model, metrics)
        self._counts = TrialCounts(
            self._shelf.canary, lambda: self.slot.loaded.canary_here, TrialMetrics(model)
        )
        self.dataplane = DataPlane(self.slot, settings, clock, metrics, self._log, self._counts)
        self._garbage = Keeper(lambda: self.dataplane.asked)
        self._telling = Telling(metrics, lambda: self.dataplane.in_flight)
        self._telling.start()
        self._counts.start()
        self.slot.start(_LOOK_SECONDS)

    def settle_memory(self) -> None:
        """Let full garbage collections wait for an idle moment from now on."""
        self._garbage.start()

    def stop(self) -> None:
        """Follow no more releases, and finish the log."""
        self.slot.stop()
        self._garbage.stop()
        self._counts.stop()
        self.dataplane.stop()
        self._telling.stop()
        if self._log is not None:
            self._log.close()

    async def is_ready(self) -> bool:
        """Say whether a request could be answered now; a positive answer holds for a second.

        While the drain file is there it says no, and goes on answering: whoever sends requests by
        readiness sends them elsewhere.
        """
        drain_file = self.settings.drain_file
        if drain_file is not None and drain_file.exists():
            self._say(f"not ready: drained by {drain_file}")
            return False
        if time.monotonic() < self._ready_until:
            return True
        try:
            await self.dataplane.ready()
        except TrivetError as err:
            self._say(f"not ready: {err}")
            return False
        self._ready_until = time.monotonic() + _READY_SECONDS
        self._say("ready")
        return True

    def _count_state(self) -> None:
        slot = self.slot
        self._metrics.state(
            refused=slot.refused is not None,
            differences=0 if slot.check is None else len(slot.check.differences),
            left_out=len(slot.left_out),
            held_bytes=slot.held_bytes,
            reachable=None if slot.contact is None else slot.contact.ok,
        )
        if (champion := slot.loaded.champion) is not None:
            self._metrics.views(champion.contract.views)

    def _say(self, state: str) -> None:
        """Log readiness when it changes; a probe comes every second."""
        if state != self._said:
            self._said = state
            log.warning("%s: %s", self._shelf.model, state)

    def _load(self, entry: LoadedVersion, room: Room) -> Version:
        folder = self._shelf.path(entry.digest)
        with yielding():
            # The follower has seen to this before; what lies on a disk may change.
            verify(folder, entry.digest, f"{self._shelf.model} version {entry.version}")
            if self._code is not None:
                self._code.require(folder)
            return load_version(
                entry.version, folder, self._open_source, room, self.settings.batch_rows
            )

    def _open_source(self, contract: Contract) -> FeatureSource:
        # Feast takes seconds to import: only a model that has features from it pays for that.
        import_feast_unchecked()
        from trivet.features.on_demand import open_transforms
        from trivet.features.reader import OnlineReader
        from trivet.features.store import open_store

        if contract.project not in self._stores:
            self._stores[contract.project] = open_store(self.settings, contract.project)
        store = self._stores[contract.project]
        # Definitions may have been applied since the store was opened.
        store.refresh_registry()
        return FeatureSource(
            reader=OnlineReader(
                store, contract, self.settings.feature_timeout_seconds, self._cache
            ),
            transforms=open_transforms(store, contract),
        )


def _start_log(settings: Settings, model: str, metrics: Metrics) -> LogSender | None:
    if not settings.log_sample:
        return None
    started = LogSender(settings, model, metrics)
    started.start()
    return started
