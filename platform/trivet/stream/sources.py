"""Push sources of Feast, for the events of a stream. Importing this imports Feast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivet.clock import Clock
from trivet.features.events import Events, to_frame
from trivet.features.push import Pusher, Store, To
from trivet.features.store import open_store
from trivet.settings import Settings


class FeastSources:
    """The push sources of the project's feature repository."""

    def __init__(self, settings: Settings, to: To, clock: Clock) -> None:
        """`to`: where events go beside the online store."""
        self._settings = settings
        self._to: To = to
        self._clock = clock
        self._store: Store = open_store(settings)

    @property
    def project(self) -> str:
        """The Feast project's name."""
        return str(self._store.project)

    def open(self, source: str) -> FeastSource:
        """Find a push source.

        Raises:
            BadSetting: there is none of this name.
            FeaturesUnavailable: the registry does not answer.
        """
        return FeastSource(Pusher(self._store, self._settings, source, self._clock), self._to)


class FeastSource:
    """One push source."""

    def __init__(self, pusher: Pusher, to: To) -> None:
        """`pusher`: of the source."""
        self._pusher = pusher
        self._to: To = to
        self._events = Events(pusher)

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Check an event's row."""
        return self._events.read(row)

    def push(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Push rows of the same columns."""
        self._pusher.push(to_frame(rows), to=self._to)
