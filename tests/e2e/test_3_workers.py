"""Two workers and a follower: what they count adds up, and who has imported what."""

from __future__ import annotations

from typing import Any

from journey import Service

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
