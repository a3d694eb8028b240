"""The file of an SQLite online store, to which Feast opens one connection and keeps it for ever."""

from __future__ import annotations

from pathlib import Path

from feast import FeatureStore
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig

from trivet.errors import FeaturesUnavailable


def online_file(store: FeatureStore) -> Path | None:
    """Return the file of a store's online store; None where that is not SQLite."""
    config = getattr(store.config, "online_store", None)
    if not isinstance(config, SqliteOnlineStoreConfig):
        return None
    path = Path(config.path)
    return path if path.is_absolute() else Path(store.repo_path) / path


class OnlineFile:
    """Sees that what Feast has open is the file that is there now."""

    def __init__(self, store: FeatureStore) -> None:
        """`store`: one with any online store; all but SQLite's are left alone."""
        self._store = store
        self._path = online_file(store)
        self._seen: tuple[int, int] | None = None

    def require(self) -> None:
        """Have Feast open the file anew if it was replaced; costs one `stat`.

        Its old connection would go on reading a file that nobody writes to any more, and a new one would
        make an empty file where there is none.

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

    def _forget_connection(self) -> None:
        # Feast has no other way to close it than a teardown, which removes the file.
        kept = self._store.provider.online_store
        connection, kept._conn = kept._conn, None  # noqa: SLF001
        if connection is not None:
            connection.close()
