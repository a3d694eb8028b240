"""The file of an SQLite online store, to which Feast opens one connection and keeps it for ever."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig

from trivet.errors import FeaturesUnavailable


def online_file(store: FeatureStore) -> Path | None:
    """Return the file of a store's online store; None where that is not SQLite."""
    config = getattr(store.config, "online_store", None)
    if not isinstance(config, SqliteOnlineStoreConfig):
        return None
    return Path(store.repo_path, config.path).resolve()


def allow_reads_while_writing(store: FeatureStore) -> None:
    """Put an SQLite online store into write-ahead mode, which stays with the file.

    Feast leaves it in rollback mode, where a reader waits for the whole of a write.
    """
    path = online_file(store)
    if path is not None and path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


class OnlineFile:
    """Sees that what Feast has open is the file that is there now."""

    def __init__(self, store: FeatureStore, limit: float | None = None) -> None:
        """All but SQLite's files are left alone; `limit`: seconds to wait for another's lock."""
        self._store = store
        self._limit = limit
        self._path = online_file(store)
        self._seen: tuple[int, int] | None = None

    def require(self) -> None:
        """Have Feast open the file anew if it was replaced; costs one `stat`.

        Its old connection would go on reading a file that nobody writes to any more, and a new one
        would make an empty file where there is none.

        Raises:
            FeaturesUnavailable: there is no such file.
        """
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except OSError as err:
            raise FeaturesUnavailable(
                f"The online store is gone: {err.strerror}: {self._path}.",
                hint="feast apply and trivet materialize make it anew.",
            ) from err
        mark = (found.st_dev, found.st_ino)
        if mark != self._seen:
            self._forget_connection()
            self._seen = mark
            self._limit_waits()

    def failed(self) -> None:
        """Do nothing: a connection to a file does not break."""

    def _limit_waits(self) -> None:
        if self._limit is not None:
            online: Any = self._store.provider.online_store
            connection = online._get_conn(self._store.config)  # noqa: SLF001 - as below
            connection.execute(f"PRAGMA busy_timeout = {round(self._limit * 1000)}")

    def _forget_connection(self) -> None:
        # Feast has no other way to close it than a teardown, which removes the file.
        kept: Any = self._store.provider.online_store
        connection, kept._conn = kept._conn, None  # noqa: SLF001
        if connection is not None:
            connection.close()
