"""The same chunks as tasks of Ray; nothing else imports it."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from trivet.batch.chunks import ChunkWorker, Progress
from trivet.batch.engines import Engine, sharing, unpacked, work_apart
from trivet.batch.job import Asked, ChunkRecord
from trivet.errors import BadSetting, ChunkFailed
from trivet.settings import silence_telemetry


def on_ray(address: str | None, local: dict[str, Any] | None = None) -> Engine:
    """Return an engine of tasks on a cluster.

    Each task joins, predicts and writes its own chunk, so the entity file, the output, the feature
    repository with its sources and the project's home must be at the same paths on every machine.

    Args:
        address: of a running cluster; None: one is started on this machine, and ended.
        local: more for `ray.init` where one is started.

    Raises:
        BadSetting: Ray is not installed.
    """
    silence_telemetry()
    try:
        import ray
    except ImportError as err:
        raise BadSetting(
            "--engine ray needs Ray, which is not installed.", hint="pip install 'trivet[ray]'"
        ) from err

    def work(
        worker: ChunkWorker, chunks: Sequence[int], progress: Progress
    ) -> Generator[ChunkRecord]:
        # Without an address Ray would take any cluster that it finds traces of on this machine.
        options: dict[str, Any] = {"address": address or "local"}
        options |= {} if address else local or {}
        try:
            ray.init(
                **options,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": _environment()},
            )
        except ConnectionError as err:
            raise ChunkFailed(
                "No cluster",
                f"There is no Ray cluster at {address}: {err}",
                "A cluster that asks for a token needs RAY_AUTH_MODE=token here too.",
                3,
            ) from err
        try:
            yield from _collected(ray, worker.asked, chunks, progress)
        finally:
            ray.shutdown()

    return work


def _most_tasks(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Return how many tasks of one processor the largest machine of a cluster works on at once."""
    numbers = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    return max([1, *numbers])


def _collected(
    ray: Any, asked: Asked, chunks: Sequence[int], progress: Progress
) -> Generator[ChunkRecord]:
    task = ray.remote(num_cpus=1)(work_apart)
    spread = ray.put(sharing(asked, min(_most_tasks(ray.nodes()), len(chunks))))
    waiting = [task.remote(spread, chunk) for chunk in chunks]
    while waiting:
        done, waiting = ray.wait(waiting)
        for reference in done:
            try:
                record = unpacked(ray.get(reference))
            except ray.exceptions.RayError as err:
                raise ChunkFailed(
                    "Task failed",
                    f"A task of Ray failed: {type(err).__name__}: {err}",
                    "What is done stays; the same command goes on.",
                    3,
                ) from err
            progress(record.rows)
            yield record


def _environment() -> dict[str, str]:
    """Return what the tasks must see as this process does: the feature store's and Feast's own."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("TRIVET_", "FEAST_", "OMP_")) or name == "DO_NOT_TRACK"
    }
