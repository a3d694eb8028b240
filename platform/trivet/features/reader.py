"""Read the online store for a contract, and enforce each view's time to live.

Feast returns an expired value online as PRESENT. Here the rule of the offline store holds online too:
a value is absent when it is older than its view's TTL at the moment of the request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from feast import FeatureStore

from trivet.contract import Column, View
from trivet.errors import FeaturesUnavailable
from trivet.features.cache import RowCache
from trivet.features.entity_keys import MadeKeys
from trivet.features.judging import ViewJudge, together
from trivet.features.online_connection import connection_of
from trivet.features.values import Features, Found, StoredRow, to_microseconds
from trivet.features.view_reader import ViewReader


class Wanted(Protocol):
    """What a reader reads: a contract, or a part of one."""

    @property
    def views(self) -> tuple[View, ...]:
        """The feature views."""

    def columns_of(self, view: str) -> tuple[Column, ...]:
        """Return the columns of one of them."""


class OnlineReader:
    """Reads feature columns: one batched read a feature view."""

    def __init__(
        self,
        store: FeatureStore,
        wanted: Wanted,
        limit: float | None = None,
        cache: RowCache | None = None,
    ) -> None:
        """Resolve views and names once, so that a read does only what depends on its keys.

        Args:
            store: of the project.
            wanted: the views and their columns.
            limit: seconds after which a read gives up; handed on to the store where it can take it.
            cache: of the worker; None: every read asks the store.

        Raises:
            FeaturesUnavailable: the registry lacks a view or does not answer.
        """
        self._limit = limit
        self._connection = connection_of(store, limit)
        held = RowCache(seconds=0, most=0) if cache is None else cache
        self._views = [
            ViewReader(store, view, wanted.columns_of(view.name), held) for view in wanted.views
        ]
        self._judges = [ViewJudge(view.view, view.columns) for view in self._views]

    def read(self, keys: Mapping[str, Sequence[Any]], at: datetime) -> Features:
        """Read the features of n rows.

        Args:
            keys: n values for every join key.
            at: the moment against which values expire.

        Raises:
            FeaturesUnavailable: the store failed; nothing is known about any row.
        """
        return self.judge(self.fetch(keys, at), at)

    def recall(self, keys: Mapping[str, Sequence[Any]], at: datetime) -> Found | None:
        """Return the rows of n entities from the cache; None unless all of them are there."""
        moment = to_microseconds(at)
        found = []
        for view in self._views:
            rows = view.recall(keys, moment)
            if rows is None:
                return None
            found.append(rows)
        return found

    def fetch(
        self, keys: Mapping[str, Sequence[Any]], at: datetime, *, anew: bool = False
    ) -> Found:
        """Return the rows of n entities, from the store where the cache has none.

        Args:
            keys: n values for every join key.
            at: the moment of the read.
            anew: read all from the store, whatever the cache has.

        Raises:
            FeaturesUnavailable: the store failed; nothing is known about any row.
        """
        self._connection.require()
        started, moment = time.monotonic(), to_microseconds(at)
        found: list[Sequence[StoredRow]] = []
        made: MadeKeys = {}
        try:
            for view in self._views:
                self._in_time(started)
                found.append(view.fetch(keys, moment, made, anew=anew))
        except FeaturesUnavailable:
            self._connection.failed()
            raise
        return found

    def judge(self, found: Found, at: datetime) -> Features:
        """Hold rows against their views' TTLs as of a moment."""
        moment = to_microseconds(at)
        judged = [judge(rows, moment) for judge, rows in zip(self._judges, found, strict=True)]
        return together(judged)

    def _in_time(self, started: float) -> None:
        """See that somebody is still waiting for the next view."""
        if self._limit is not None and time.monotonic() - started > self._limit:
            raise FeaturesUnavailable(f"The online store did not answer within {self._limit:g} s.")
