"""Two workers and a follower: what they count adds up, and who has imported what."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from journey import Project, Service

from .processes import Imports
from .registry import MODEL
from .test_2_serving import STEPS


def test_what_is_counted_adds_up_over_the_workers(service: Service, body: dict[str, Any]) -> None:
    """As many as were sent, whoever answered and whoever is asked for the metrics."""
    requests = {"name": "trivet_requests_total", "model": MODEL, "version": "1", "status": "200"}
    rows = {"name": "trivet_predictions_total", "model": MODEL, "version": "1"}
    total = {"name": "trivet_request_seconds_count", "model": MODEL}
    steps = [{"name": "trivet_step_seconds_count", "model": MODEL, "step": step} for step in STEPS]
    counted = [requests, rows, total, *steps]
    before = [service.metric(**labels) for labels in counted]
    sent, workers = send_until_both_have_answered(service, body)
    after = [service.metric(**labels) for labels in counted]
    assert [b - a for a, b in zip(before, after, strict=True)] == [sent] * len(counted)
    assert len(workers) == 2


def test_only_the_follower_has_imported_mlflow(
    service: Service, imports: Imports, body: dict[str, Any]
) -> None:
    """A worker that serves with ONNX Runtime has no use for it, before and after its first release."""
    _, workers = send_until_both_have_answered(service, body)
    follower = service.follower()
    assert "mlflow" in imports.of(follower.pid)
    assert "onnxruntime" not in imports.of(follower.pid)
    for worker in workers:
        assert {"trivet", "feast", "onnxruntime"} <= imports.of(worker)
    others = {process.pid for process in service.processes()} - {follower.pid}
    assert workers <= others
    parent = follower.ppid()
    assert not [pid for pid in (*others, parent) if "mlflow" in imports.of(pid)]


STALENESS = 1.0
"""The default of TRIVET_CACHE_SECONDS."""

PUSH = """
import sys, time
from datetime import UTC, datetime, timedelta
import pandas as pd
from trivet import load_settings, open_store
from trivet.features.push import push
landed = datetime.now(UTC) - timedelta(minutes=20)
leg = {
    "tailnum": sys.argv[1],
    "leg_dest": "BOS",
    "leg_departure_delay_min": 5.0,
    "leg_arrival_delay_min": 7.0,
    "leg_air_time_min": 90.0,
    "event_timestamp": landed,
}
rows = pd.DataFrame([leg])
settings = load_settings()
push(open_store(settings), settings, "aircraft_last_leg_push", rows)
print(time.time())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One answer about an aircraft: when it was asked, by whom, and whether its last leg was known."""

    at: float
    worker: str
    known: bool


def test_a_pushed_feature_is_seen_by_every_worker_within_the_staleness(
    project: Project, service: Service, body: dict[str, Any]
) -> None:
    """Though each had in its cache that there is nothing."""
    (instance,) = body["instances"]
    asked = {"instances": [{**instance, "tailnum": "N0PUSH"}]}
    assert {look.known for look in looks(service, asked, seconds=0.5)} == {False}
    pushed = float(project.run("python", "-c", PUSH, "N0PUSH").stdout.split()[-1])
    after = [look for look in looks(service, asked, seconds=1.5) if look.at > pushed + STALENESS]
    assert len({look.worker for look in after}) == service.workers
    assert all(look.known for look in after)


def looks(service: Service, asked: dict[str, Any], *, seconds: float) -> list[Look]:
    """Ask for so long, and until each worker has answered."""
    found: list[Look] = []
    end = time.time() + seconds
    while time.time() < end or len({look.worker for look in found}) < service.workers:
        at = time.time()
        answer = service.post("/predict", asked, headers={"Connection": "close"})
        absent = {one["column"] for one in answer.json()["missing"]}
        worker, known = answer.headers["X-Trivet-Replica"], "leg_air_time_min" not in absent
        found.append(Look(at=at, worker=worker, known=known))
    return found


def send_until_both_have_answered(service: Service, body: dict[str, Any]) -> tuple[int, set[int]]:
    """Send at least forty requests; return how many, and the ids of the processes that answered."""
    workers: set[int] = set()
    for sent in range(1, 400):
        # Without keep-alive: a kept connection asks the same worker again and again.
        answer = service.post("/predict", body, headers={"Connection": "close"})
        workers.add(int(answer.headers["X-Trivet-Replica"].rpartition("-")[2]))
        if sent >= 40 and len(workers) == service.workers:
            break
    return sent, workers
