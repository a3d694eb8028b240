"""A stream and a service give the same predictions for the same inputs at the same moment."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
import redis
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

from contract.servers import RedisServer
from integration.tiny import MODEL, NOON, SERVICE, Tiny, pushed
from journey import Project
from streaming import Consumer
from trivet.errors import TrivetError
from trivet.registry.client import connect
from trivet.registry.follower import Follower
from trivet.registry.register import Submission, log_version
from trivet.serving.problems import problem
from trivet.serving.worker import Worker
from trivet.stream.address import parse_address
from trivet.stream.line import Reading
from trivet.stream.messages import DATA_FIELD, Names
from trivet.stream.running import StreamProcess
from waiting import wait_for

NAMES = Names(prefix="trivet", model=MODEL, project="tiny")
USERS = 50


@dataclass
class SetClock:
    """A clock that stands until it is set."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        """Return where it stands."""
        return self.now


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Tiny]:
    """Return a project with features online, and one released version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = Tiny(tmp_path_factory.mktemp("both") / "tiny", users=USERS)
        made.define(pushed())
        made.apply()
        made.materialize()
        shutil.copyfile(empty_registry, made.root / "mlflow.db")
        client = connect(made.settings)
        made.promote(client, _register(made, client))
        Follower(made.settings, MODEL).step()
        yield made


def _register(project: Tiny, client: MlflowClient) -> int:
    """Register a version that takes what the contract gives it."""
    frame = pd.DataFrame({"age": np.arange(20.0), "purchases": np.arange(20), "gross": 1.19})
    submission = Submission(
        contract=project.contract(),
        estimator=LinearRegression().fit(frame, frame.age),
        example=frame.head(3),
        tags={"feast.project": "tiny", "feast.feature_service": SERVICE},
    )
    return log_version(client, project.settings, submission, "a toy")


@pytest.fixture(scope="module")
def clock() -> SetClock:
    """Return the one clock of service and stream."""
    return SetClock()


@pytest.fixture(scope="module")
def worker(project: Tiny, clock: SetClock) -> Iterator[Worker]:
    """Return what a service's worker process holds."""
    made = Worker(MODEL, project.settings, clock)
    yield made
    made.stop()


@pytest.mark.parametrize(
    "later", [timedelta(0), timedelta(minutes=59), timedelta(hours=1, seconds=1)]
)
def test_stream_and_service_answer_alike_at_every_moment(
    project: Tiny, worker: Worker, clock: SetClock, tmp_path: Path, later: timedelta
) -> None:
    """Fresh, just before they expire, and after: answers, refusals and what was missing."""
    clock.now = NOON + later
    instances = [{"user_id": f"u{n:05}", "amount": n / 7} for n in range(USERS + 10)]
    instances.append({"user_id": "u00000", "amount": 1.0, "age": 77.0, "purchases": 5})
    served = asyncio.run(_ask(worker, instances))
    with RedisServer(tmp_path) as server:
        streamed = _streamed(project, worker, clock, instances, server)
    assert streamed == served
    refused = sum("status" in one for one in served)
    assert refused == (10 if later < timedelta(hours=1) else USERS + 10)


def test_one_process_pushes_events_and_answers_by_them(project: Tiny, tmp_path: Path) -> None:
    """`trivet stream MODEL` without more; each event changes what is predicted."""
    with (
        RedisServer(tmp_path) as server,
        Consumer(Project(project.root), server, MODEL, "both", role=None) as consumer,
        redis.Redis(port=server.port) as client,
    ):
        asked = itertools.count()
        for age in (30.0, 50.0):
            row: dict[str, Any] = {"user_id": "new", "age": age, "purchases": int(age), "visits": 1}
            row["event_timestamp"] = datetime.now(UTC).isoformat()
            event = {"id": f"e{age}", "source": "users_push", "row": row}
            client.xadd(NAMES.features, {DATA_FIELD: orjson.dumps(event)})

            def is_predicted(age: float = age) -> bool:
                number = str(next(asked))
                request = {"id": number, "instance": {"user_id": "new", "amount": 1.0}}
                client.xadd(NAMES.requests, {DATA_FIELD: orjson.dumps(request)})
                wait_for(lambda: number in _answers(client), 30, consumer.tail)
                answer = _answers(client)[number]
                return answer is not None and answer["value"] == pytest.approx(age)

            wait_for(is_predicted, 60, consumer.tail)
        assert not client.xlen(NAMES.dead_features)
        assert consumer.stop() == 0


def _answers(client: redis.Redis) -> dict[str, Any]:
    """Return predictions by id; None for what was given up."""
    found: dict[str, Any] = {m["id"]: None for m in _messages(client, NAMES.dead_requests)}
    return found | {m["id"]: m["prediction"] for m in _messages(client, NAMES.predictions)}


async def _ask(worker: Worker, instances: list[dict[str, Any]]) -> list[Any]:
    """Return what a service answers each, by itself."""
    answers = []
    for instance in instances:
        try:
            answer = await worker.dataplane.predict([instance], lambda slot: slot.champion(), "r")
        except TrivetError as err:
            told = problem(err, "r")
            answers.append({"status": told["status"], "detail": told["detail"]})
        else:
            document = answer.document
            (prediction,) = document["predictions"]
            answers.append((prediction, document["missing"], document["model"]))
    return orjson.loads(orjson.dumps(answers))


def _streamed(
    project: Tiny,
    worker: Worker,
    clock: SetClock,
    instances: list[dict[str, Any]],
    server: RedisServer,
) -> list[Any]:
    """Return what a stream answers, and the reasons of what it gave up, in the requests' order."""
    reading = Reading(
        group="g",
        consumer="c",
        batch=16,
        linger_seconds=0.001,
        idle_seconds=30.0,
        most_kept=1000,
        remember_seconds=60,
    )
    client = redis.Redis(port=server.port)
    for number, instance in enumerate(instances):
        request = {"id": str(number), "instance": instance}
        client.xadd(NAMES.requests, {DATA_FIELD: orjson.dumps(request)})

    async def story() -> None:
        address = parse_address(f"redis://{server.address}")
        process = StreamProcess(project.settings, address, reading, clock)
        process.predict(NAMES, worker)
        running = asyncio.create_task(process.run())
        await asyncio.to_thread(_wait, client, len(instances))
        process.stopping.set()
        await running

    asyncio.run(story())
    came_of: dict[int, Any] = {}
    for message in _messages(client, NAMES.predictions):
        parts = (message["prediction"], message["missing"], message["model"])
        came_of[int(message["id"])] = list(parts)
    for message in _messages(client, NAMES.dead_requests):
        reason = message["reason"]
        came_of[int(message["id"])] = {"status": reason["status"], "detail": reason["detail"]}
    client.close()
    return [came_of[number] for number in range(len(instances))]


def _wait(client: redis.Redis, count: int) -> None:
    end = time.monotonic() + 30
    while client.xlen(NAMES.predictions) + client.xlen(NAMES.dead_requests) < count:
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def _messages(client: redis.Redis, stream: str) -> list[Any]:
    return [orjson.loads(fields[DATA_FIELD.encode()]) for _, fields in client.xrange(stream)]
