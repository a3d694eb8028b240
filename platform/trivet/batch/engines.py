"""Who works on a job's chunks: this process, several on this machine, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from trivet.batch.chunks import ChunkWorker, Progress
from trivet.batch.job import Asked, ChunkRecord
from trivet.batch.limits import memory_for_joins
from trivet.errors import ChunkFailed, TrivetError

Engine: TypeAlias = Callable[[ChunkWorker, Sequence[int], Progress], Generator[ChunkRecord]]
"""Works on some chunks, in any order; yields each record when the chunk is on disk."""


def in_process(
    worker: ChunkWorker, chunks: Sequence[int], progress: Progress
) -> Generator[ChunkRecord]:
    """Work on one chunk after the other in this process."""
    with worker:
        for chunk in chunks:
            yield worker.work(chunk, progress)


def in_processes(number: int) -> Engine:
    """Return an engine of so many processes on this machine, each with its own version and join."""

    def work(
        worker: ChunkWorker, chunks: Sequence[int], progress: Progress
    ) -> Generator[ChunkRecord]:
        context = multiprocessing.get_context("spawn")
        asked = sharing(worker.asked, min(number, len(chunks)))
        pool = ProcessPoolExecutor(number, context, _end_with_parent)
        try:
            yield from _collected(pool, asked, chunks, progress)
        except BrokenProcessPool as err:
            raise ChunkFailed(
                "Worker ended",
                "A process that worked on chunks was ended, perhaps for want of memory.",
                "What is done stays; the same command goes on, with fewer --workers if need be.",
                3,
            ) from err
        finally:
            pool.shutdown(cancel_futures=True)

    return work


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An error on its way from another process: exceptions with facts of their own do not travel."""

    title: str
    sentence: str
    hint: str | None
    exit_code: int


def sharing(asked: Asked, processes: int) -> Asked:
    """Return what each of so many processes of a machine is asked: they share its memory for joins."""
    return asked.model_copy(update={"memory_limit": memory_for_joins(processes)})


def work_apart(asked: Asked, chunk: int) -> ChunkRecord | Failed:
    """Work on a chunk in a process that lives longer than it; what fails travels back as a value."""
    try:
        return _worker(asked).work(chunk)
    except TrivetError as err:
        return Failed(
            title=err.title, sentence=err.sentence, hint=err.hint, exit_code=err.exit_code
        )


def unpacked(found: ChunkRecord | Failed) -> ChunkRecord:
    """Return a record, or raise what came in its place."""
    if isinstance(found, Failed):
        raise ChunkFailed(found.title, found.sentence, found.hint, found.exit_code)
    return found


def _collected(
    pool: ProcessPoolExecutor, asked: Asked, chunks: Iterable[int], progress: Progress
) -> Generator[ChunkRecord]:
    waiting: set[Future[ChunkRecord | Failed]]
    waiting = {pool.submit(work_apart, asked, chunk) for chunk in chunks}
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            record = unpacked(future.result())
            progress(record.rows)
            yield record


_held: dict[str, ChunkWorker] = {}
"""The worker of the job that this process works on."""


def _worker(asked: Asked) -> ChunkWorker:
    if asked.job.id not in _held:
        while _held:
            with suppress(Exception):
                _held.popitem()[1].__exit__(None, None, None)
        _held[asked.job.id] = ChunkWorker(asked).__enter__()
    return _held[asked.job.id]


def _end_with_parent() -> None:
    from trivet.serving.following import end_with_parent

    end_with_parent()
