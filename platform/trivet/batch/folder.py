"""A job's output folder: what lies where, and that nothing of it is ever half there.

    predictions/[column=value/]part-00000.parquet   rows of a chunk that were predicted
    rejects/part-00000.parquet                      those that were not, and why, if any
    _SUCCESS.json                                   all is there: counts, files, digests
    _trivet/job.json                                what the job is
    _trivet/chunks/00000.json                       a chunk is done: counts, files, digests
    _trivet/scores/part-00000.parquet               its labels beside what the model gave

A file is written beside its place under a name that begins with a point, brought to disk and renamed;
a chunk's record comes after its files. Readers of Parquet folders pass over names that begin with a
point or an underscore.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from trivet.batch.job import ChunkRecord, Job, WrittenFile
from trivet.errors import BadSetting, JobBusy, OutputFailed

SUCCESS = "_SUCCESS.json"
PREDICTIONS, REJECTS, SCORES = "predictions", "rejects", "_trivet/scores"
_PARTIAL = ".partial-"


class OutputFolder:
    """The folder of one job."""

    def __init__(self, path: Path) -> None:
        """Nothing is made before `locked`."""
        self.path = path
        self._own = path / "_trivet"
        self._job = self._own / "job.json"
        self._chunks = self._own / "chunks"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the system lets go of it however this process ends.

        Raises:
            JobBusy: another process holds it.
            BadSetting: something else lies in it.
            OutputFailed: it cannot be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise BadSetting(f"{self.path} is no folder.")
        strangers = [p.name for p in self.path.iterdir()] if self.path.is_dir() else []
        if strangers and "_trivet" not in strangers:
            raise BadSetting(
                f"{self.path} holds something else: {min(strangers)}.",
                hint="A job has its output folder to itself.",
            )
        with writing(self._own):
            self._chunks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._own / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as err:
            raise JobBusy(str(self.path)) from err
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def read_job(self) -> Job | None:
        """Return the job that the folder holds; None: it is new.

        Raises:
            BadSetting: of another Trivet, or no job.
        """
        try:
            return Job.model_validate_json(self._job.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as err:
            raise BadSetting(
                f"{self._job} cannot be read: {err.errors()[0]['msg']}.",
                hint="Name another folder with --out.",
            ) from err

    def write_job(self, job: Job) -> None:
        """Begin a job."""
        self._write_document(self._job, job)

    def record(self, chunk: int) -> ChunkRecord | None:
        """Return what a chunk has come to if all of it is there as it was written, or None."""
        try:
            found = ChunkRecord.model_validate_json(self._record_file(chunk).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        whole = all(_is_whole(self.path / file.path, file) for file in found.files)
        return found if whole else None

    def has_record(self, chunk: int) -> bool:
        """Say whether a chunk was done once, whatever became of its files."""
        return self._record_file(chunk).exists()

    def write_record(self, record: ChunkRecord) -> None:
        """Have a chunk count as done."""
        self._write_document(self._record_file(record.chunk), record)

    def drop(self, chunk: int) -> None:
        """Take away whatever an earlier try of a chunk has left: its record first."""
        self._record_file(chunk).unlink(missing_ok=True)
        for folder in (PREDICTIONS, REJECTS, SCORES):
            for file in (self.path / folder).rglob(part_name(chunk)):
                file.unlink()

    def clear(self, done: Collection[int]) -> None:
        """Take away what earlier tries have left of all chunks but those that are done."""
        kept = {part_name(chunk) for chunk in done}
        for file in self._chunks.glob("*.json"):
            if int(file.stem) not in done:
                file.unlink()
        for folder in (PREDICTIONS, REJECTS, SCORES):
            for file in (self.path / folder).rglob("part-*.parquet"):
                if file.name not in kept:
                    file.unlink()

    def write_table(self, path: str, table: pa.Table, compression: str) -> WrittenFile:
        """Write a file below the folder, as a whole or not at all.

        Raises:
            OutputFailed: it cannot be written.
        """
        target = self.path / path
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _replaced(target) as partial:
                pq.write_table(table, partial, compression=compression)
            return WrittenFile(path=path, bytes=target.stat().st_size, sha256=sha256(target))

    def scores(self, chunks: int) -> list[Path]:
        """Return the files with labels beside what the model gave."""
        files = [self.path / SCORES / part_name(chunk) for chunk in range(chunks)]
        return [file for file in files if file.exists()]

    def finish(self, document: BaseModel) -> None:
        """Say that the whole is there."""
        self._write_document(self.path / SUCCESS, document)

    @property
    def is_finished(self) -> bool:
        """Whether it has been said that the whole is there."""
        return (self.path / SUCCESS).exists()

    def unfinish(self) -> None:
        """Take back that the whole is there."""
        (self.path / SUCCESS).unlink(missing_ok=True)

    def _record_file(self, chunk: int) -> Path:
        return self._chunks / f"{chunk:05}.json"

    def _write_document(self, target: Path, document: BaseModel) -> None:
        with writing(target), _replaced(target) as partial:
            partial.write_text(document.model_dump_json(indent=2) + "\n")

    def _sweep(self) -> None:
        """Take away what processes that were killed have not finished."""
        for file in list(self.path.rglob(f"{_PARTIAL}*")):
            file.unlink(missing_ok=True)


def part_name(chunk: int) -> str:
    """Return the name of a chunk's files."""
    return f"part-{chunk:05}.parquet"


def sha256(file: Path) -> str:
    """Return the digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say of an operating system's refusal what could not be written.

    Raises:
        OutputFailed: in place of OSError.
    """
    try:
        yield
    except OSError as err:
        raise OutputFailed(
            f"{target} cannot be written: {err.strerror or err}.",
            hint="What is done stays; the same command goes on with it.",
        ) from err


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Have a file written beside its place; then bring it to disk, and into its place."""
    partial = target.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
    try:
        yield partial
        _to_disk(partial)
        partial.replace(target)
        _to_disk(target.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_whole(path: Path, file: WrittenFile) -> bool:
    try:
        return path.stat().st_size == file.bytes and sha256(path) == file.sha256
    except OSError:
        return False


def totals(records: Sequence[ChunkRecord]) -> dict[str, int]:
    """Return the counts of some chunks together."""
    names = ("rows", "predicted", "rejected", "missing")
    return {name: sum(getattr(record, name) for record in records) for name in names}
