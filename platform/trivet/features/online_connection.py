"""The connection to the online store: limited in time where it can be, and opened anew by itself.

Feast opens one connection and keeps it. Redis' client mends its own. PostgreSQL's stays broken after
the server has gone away once, and neither of the two has a limit of its own on a read; a worker reads
in one thread, so a read that hangs would hold up all that come after it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from feast import FeatureStore

from trivet.errors import FeaturesUnavailable
from trivet.features.online_file import OnlineFile, online_file

if TYPE_CHECKING:
    from psycopg import Connection as PsycopgConnection

_CONNECT_SECONDS = 2
"""The least that PostgreSQL's client accepts as a limit on connecting."""


class Connection(Protocol):
    """What a reader asks of the connection beneath Feast."""

    def require(self) -> None:
        """See before a read that it is there.

        Raises:
            FeaturesUnavailable: it is not, and cannot be opened.
        """

    def failed(self) -> None:
        """Be told that a read failed."""


def connection_of(store: FeatureStore, limit: float | None) -> Connection:
    """Return the connection of a store's online store.

    Args:
        store: with any online store; one that is not known here is left to Feast.
        limit: seconds that any wait for the store may take; None: Feast's own, mostly none.
    """
    config: Any = getattr(store.config, "online_store", None)
    kind = getattr(config, "type", None)
    if online_file(store) is not None:
        return OnlineFile(store, limit)
    if kind == "postgres":
        return _PostgresConnection(store, limit)
    if kind == "redis" and limit is not None:
        config.connection_string = limited_redis(config.connection_string, limit)
    return _FeastsOwn()


def limited_redis(connection_string: str, limit: float) -> str:
    """Put a limit into Feast's connection string for Redis, where it has none of its own.

    The client tries again by default, three times and up to ten seconds apart. Whoever asks does not
    wait for that; it finds out by itself, at the next read, that a connection was lost.

    >>> limited_redis("cache:6379,db=2,socket_timeout=5", 1.0)
    'cache:6379,db=2,socket_timeout=5,socket_connect_timeout=1.0,retry=null'
    """
    options = {part.partition("=")[0] for part in connection_string.split(",")}
    wanted = {"socket_timeout": limit, "socket_connect_timeout": limit, "retry": "null"}
    added = [f"{name}={value}" for name, value in wanted.items() if name not in options]
    return ",".join([connection_string, *added])


class _FeastsOwn:
    """A connection that Feast or the store's own client looks after."""

    def require(self) -> None:
        """Do nothing."""

    def failed(self) -> None:
        """Do nothing."""


class _PostgresConnection:
    """One connection, opened in Feast's place: Feast has no settings for its limits."""

    def __init__(self, store: FeatureStore, limit: float | None) -> None:
        self._config = store.config.online_store
        self._online: Any = store.provider.online_store
        self._limit = limit

    def require(self) -> None:
        """Open it where there is none."""
        from psycopg import Error

        self._config.conn_type = type(self._config.conn_type).singleton
        if self._online._conn is not None:  # noqa: SLF001 - Feast has no other way in
            return
        try:
            connection = _open_postgres(self._config, self._limit)
        except Error as err:
            raise FeaturesUnavailable(f"The online store does not answer: {err}") from err
        _require_utc(connection)
        self._online._conn = connection  # noqa: SLF001

    def failed(self) -> None:
        """Close it: a connection that has failed once may be broken, or busy with the last read."""
        connection, self._online._conn = self._online._conn, None  # noqa: SLF001
        if connection is not None:
            connection.close()


def _open_postgres(config: Any, limit: float | None) -> PsycopgConnection[Any]:
    from feast.infra.utils.postgres.connection_utils import _get_conn_kwargs, _get_conninfo
    from psycopg import Connection

    class Limited(Connection[Any]):
        """Gives up a wait for the server, whatever the server does."""

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = limit) -> Any:
            return super().wait(gen, interval, timeout)

    options = _get_conn_kwargs(config)
    if limit is not None:
        options["connect_timeout"] = max(_CONNECT_SECONDS, round(limit))
        # The server stops what nobody waits for any more.
        options["options"] += f" -c statement_timeout={max(1, round(limit * 1000))}"
    return Limited.connect(_get_conninfo(config), keepalives_idle=config.keepalives_idle, **options)


def _require_utc(connection: PsycopgConnection[Any]) -> None:
    """See that event timestamps mean what they say.

    Feast writes them without a zone into a column with one, so PostgreSQL takes them as of the
    session's zone; in any but UTC every value would be hours too old or too young.
    """
    zone = connection.info.timezone
    year = datetime.fromtimestamp(0, UTC)
    if any(zone.utcoffset(year + timedelta(days=d)) != timedelta(0) for d in (0, 182)):
        connection.close()
        raise FeaturesUnavailable(
            f"PostgreSQL's sessions are in the time zone {zone}, in which Feast misplaces times.",
            hint="ALTER ROLE <user> SET timezone TO 'UTC', then materialize anew.",
        )
