"""How many feature events and prediction requests a second two processes of `trivet stream` sustain.

    python -m benchmarks.stream                      # 5,000 events and 2,000 requests a second
    python -m benchmarks.stream --events 10000 --requests 4000 --seconds 20

One process pushes, one predicts: a forest of 100 trees with features by two keys. Both, one Redis (of
the streams and of the features) and the generator share the machine's processors. The project is made
once, in .bench/stream, which takes a minute.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.forest import ENTITIES, user
from benchmarks.serving.project import REPOSITORY, Project, redis_store
from benchmarks.serving.servers import free_port
from benchmarks.serving.store import redis_server

MODEL = "forest_by_key"
FOLDER = REPOSITORY / ".bench" / "stream"
_STREAMS = {"features": "trivet.benchmark.features", "predictions": f"trivet.{MODEL}.requests"}
_FIELD = b"__data__"
_EVERY = 0.02
_WARM_UP = 5.0
_EVENTS = """

from feast import PushSource

_events = FileSource(
    name="user_events_file",
    path=str(_DATA / "user_events.parquet"),
    timestamp_field="event_timestamp",
)
user_events = FeatureView(
    name="user_events",
    entities=[user],
    ttl=timedelta(days=30),
    schema=[
        Field(name="user_id", dtype=String),
        *(Field(name=f"event_{n}", dtype=Float64) for n in range(4)),
    ],
    source=PushSource(name="user_events_push", batch_source=_events),
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one role did in the measured stretch."""

    role: str
    asked_per_second: float
    done_per_second: float
    most_waiting: int
    """Messages, looked at four times a second."""
    waiting_at_end: int
    age_p50_ms: float
    age_p99_ms: float
    processor: float
    """Of its process, in processors."""


@dataclass(slots=True, kw_only=True)
class Consumer:
    """One process of `trivet stream`."""

    role: str
    process: psutil.Popen
    port: int
    most_waiting: int = 0

    def samples(self) -> dict[str, float]:
        """Return the sums of its metrics by name, and of histograms' buckets by bound."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("stream") == _STREAMS[self.role]:
                    name = sample.name + sample.labels.get("le", "")
                    found[name] = found.get(name, 0.0) + sample.value
        return found


@dataclass(slots=True, kw_only=True)
class Generator:
    """Sends messages at a steady rate, from a thread."""

    port: int
    stream: str
    rate: float
    make: Callable[[int], bytes]
    sent: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send until stopped; what is late is sent at once."""
        began = time.monotonic()
        # The streams have a database of their own, beside the features'.
        with redis.Redis(port=self.port, db=1) as client:
            while not self.stopped.is_set():
                due = int((time.monotonic() - began) * self.rate)
                with client.pipeline(transaction=False) as pipe:
                    for number in range(self.sent, due):
                        pipe.xadd(self.stream, {_FIELD: self.make(number)})
                    pipe.execute()
                self.sent = max(self.sent, due)
                time.sleep(_EVERY)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=float, default=5000.0)
    parser.add_argument("--requests", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--to", choices=("online", "online_and_offline"), default="online")
    parser.add_argument("--batch", default="500")
    parser.add_argument("--prepare", action="store_true", help="make the project, and stop")
    said = parser.parse_args()
    with redis_server(FOLDER) as (port, server):
        project = prepared(port)
        if said.prepare:
            return
        rates = {"features": said.events, "predictions": said.requests}
        options = {"features": ["--to", said.to], "predictions": []}
        with consumers(project, port, options, said.batch) as both:
            results, others = measured(both, port, server, rates, said.seconds)
    for one in results:
        sys.stdout.write(json.dumps(asdict(one)) + "\n")
    sys.stdout.write(table(results, others))


def prepared(port: int) -> Project:
    """Return the project with its features online in a Redis that is empty."""
    root = FOLDER / "project"
    if not (root / "ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        project = Project.make(root, online=redis_store(port), models=(MODEL,))
        definitions = root / "feature_repo" / "features.py"
        definitions.write_text(definitions.read_text() + _EVENTS)
        _write_event(root / "data" / "user_events.parquet")
        project.run("trivet", "apply")
        (root / "ready").touch()
    project = Project(root=root)
    yaml = root / "feature_repo" / "feature_store.yaml"
    lines = yaml.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "connection_string" in line)
    lines[at] = f'  connection_string: "127.0.0.1:{port}"'
    yaml.write_text("\n".join(lines) + "\n")
    views = ("user_now", "user_lately", "item_now", "item_lately")
    project.run("trivet", "materialize", "--again", *views)
    return project


@contextmanager
def consumers(
    project: Project, port: int, options: dict[str, list[str]], batch: str
) -> Iterator[list[Consumer]]:
    """Run one process a role, until both are well."""
    running = []
    for role, more in options.items():
        page = free_port()
        command = ["trivet", "stream", MODEL, "--role", role, "--port", str(page)]
        command += ["--broker", f"redis://127.0.0.1:{port}/1", "--batch", batch, *more]
        with (FOLDER / f"{role}.log").open("wb") as log:
            process = psutil.Popen(
                command, cwd=project.root, env=project.env, stdout=log, stderr=log
            )
        running.append(Consumer(role=role, process=process, port=page))
    try:
        for one in running:
            _await_health(one)
        yield running
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait(60)


def measured(
    both: list[Consumer],
    port: int,
    server: psutil.Process,
    rates: dict[str, float],
    seconds: float,
) -> tuple[list[Measured], dict[str, float]]:
    """Send, warm up, and measure a stretch; also what Redis and the generator took."""
    makers = {"features": _event_of(), "predictions": _request_of()}
    senders = [
        Generator(port=port, stream=_STREAMS[one.role], rate=rates[one.role], make=makers[one.role])
        for one in both
    ]
    for sender in senders:
        threading.Thread(target=sender.run, daemon=True).start()
    time.sleep(_WARM_UP)
    processes = {one.role: one.process for one in both}
    processes |= {"Redis": server, "generator": psutil.Process()}
    before = [one.samples() for one in both]
    used = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    began, sent = time.monotonic(), [sender.sent for sender in senders]
    while time.monotonic() - began < seconds:
        time.sleep(0.25)
        for one in both:
            with redis.Redis(port=port, db=1) as client:
                one.most_waiting = max(one.most_waiting, client.xlen(_STREAMS[one.role]))
    took = time.monotonic() - began
    share = {
        name: (sum(process.cpu_times()[:2]) - used[name]) / took
        for name, process in processes.items()
    }
    after = [one.samples() for one in both]
    asked = [(sender.sent - was) / took for sender, was in zip(senders, sent, strict=True)]
    for sender in senders:
        sender.stopped.set()
    results = [
        Measured(
            role=one.role,
            asked_per_second=round(asked[n]),
            done_per_second=round(
                _grown(before[n], after[n], "trivet_stream_age_seconds_count") / took
            ),
            most_waiting=one.most_waiting,
            waiting_at_end=int(after[n]["trivet_stream_lag_messages"]),
            age_p50_ms=_quantile(before[n], after[n], 0.5),
            age_p99_ms=_quantile(before[n], after[n], 0.99),
            processor=round(share[one.role], 2),
        )
        for n, one in enumerate(both)
    ]
    others = {name: round(share[name], 2) for name in ("Redis", "generator")}
    return results, others


def table(results: list[Measured], others: dict[str, float]) -> str:
    """Lay the figures out as Markdown."""
    lines = [
        "| role | sent/s | done/s | most waiting | age p50, p99 | processors |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.role} | {one.asked_per_second:,.0f} | {one.done_per_second:,.0f} "
        f"| {one.most_waiting:,} | {one.age_p50_ms:.0f}, {one.age_p99_ms:.0f} ms "
        f"| {one.processor:.2f} |"
        for one in results
    ]
    lines += [f"| {name} | | | | | {share:.2f} |" for name, share in others.items()]
    return "\n".join(lines) + "\n"


def _event_of() -> Callable[[int], bytes]:
    values = np.random.default_rng(0).normal(size=(1000, 4)).round(4).tolist()

    def make(number: int) -> bytes:
        row = {f"event_{n}": value for n, value in enumerate(values[number % 1000])}
        row |= {"user_id": user(number % ENTITIES), "event_timestamp": time.time()}
        return orjson.dumps({"id": f"e{number}", "source": "user_events_push", "row": row})

    return make


def _request_of() -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        instance = {"user_id": user(number % ENTITIES), "item_id": (number * 7) % ENTITIES}
        return orjson.dumps({"id": f"r{number}", "instance": instance})

    return make


def _write_event(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    moment = pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC"))
    columns: dict[str, Any] = {f"event_{n}": [0.0] for n in range(4)}
    pq.write_table(pa.table({"user_id": ["nobody"], **columns, "event_timestamp": moment}), path)


def _await_health(one: Consumer) -> None:
    end = time.monotonic() + 90
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{one.port}/health").is_success:
                return
        except httpx.TransportError:
            pass
        if one.process.poll() is not None or time.monotonic() > end:
            sys.exit((FOLDER / f"{one.role}.log").read_text())
        time.sleep(0.1)


def _grown(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after.get(name, 0.0) - before.get(name, 0.0)


def _quantile(before: dict[str, float], after: dict[str, float], share: float) -> float:
    """Return the upper bound, in milliseconds, of the bucket that a quantile of ages lies in."""
    prefix = "trivet_stream_age_seconds_bucket"
    bounds = sorted((float(k.removeprefix(prefix)), k) for k in after if k.startswith(prefix))
    wanted = share * _grown(before, after, bounds[-1][1])
    return next(1000 * bound for bound, k in bounds if _grown(before, after, k) >= wanted)


if __name__ == "__main__":
    main()
