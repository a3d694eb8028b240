"""A batch job from its beginning, or from where it was left, to its end."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from trivet.batch.chunks import ChunkWorker
from trivet.batch.engines import Engine, in_process
from trivet.batch.folder import OutputFolder, totals
from trivet.batch.job import Asked, ChunkRecord, Job, Options, Wanted, WrittenFile
from trivet.batch.limits import MostRejects, memory_for_joins
from trivet.batch.rows import examine, stamp
from trivet.batch.scoring import quality
from trivet.batch.tracking import track
from trivet.batch.versions import Located, held_version
from trivet.clock import Clock, system_clock
from trivet.contract import Contract, parse_contract
from trivet.errors import JobDiffers, OutputFailed, TooManyRejects
from trivet.live import CONTRACT
from trivet.serving.carried import CarriedCode
from trivet.settings import Settings

_THREADS = 2
"""That predict, where this process works on chunks alone. A third has nothing left to do: the join and
the writing of a chunk take one."""


class Watcher(Protocol):
    """Is told how a job goes on; `trivet.cli.progress.BatchBar` on a terminal."""

    def begins(self, rows: int, done: int) -> None:
        """So many rows there are, and so many of them were done by an earlier run."""

    def worked(self, rows: int) -> None:
        """So many more rows have been worked on."""

    def note(self, sentence: str) -> None:
        """Something is to be known that is no error."""


class Success(BaseModel):
    """What stands in `_SUCCESS.json`: the whole job is there."""

    model_config = ConfigDict(frozen=True)

    job: Job
    finished: AwareDatetime
    rows: int
    predicted: int
    rejected: int
    missing: int
    quality: dict[str, float]
    files: tuple[WrittenFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a job is asked for."""

    model: str
    entities: Path
    out: Path
    version: int | None = None
    alias: str | None = None
    """None, without a version: what the job in `out` was begun with, or else the champion."""
    options: Options = field(default_factory=Options)
    most_rejects: MostRejects = field(default_factory=MostRejects)
    engine: Engine = in_process


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job."""

    job: Job
    rows: int
    predicted: int
    rejected: int
    missing: int
    resumed_rows: int
    """Those that an earlier run had done."""
    seconds: float
    """Of this run."""
    quality: dict[str, float]
    run_id: str | None
    """Of MLflow; None: it could not be written."""

    @property
    def rate(self) -> float:
        """Rows a second, of those that this run has done."""
        return (self.rows - self.resumed_rows) / self.seconds if self.seconds else 0.0


def run_batch(
    settings: Settings, request: Request, watcher: Watcher, clock: Clock = system_clock
) -> Outcome:
    """Predict every row of the entity file, each exactly once, or go on with it.

    Raises:
        BadSetting: the entity file or an option cannot be used.
        JobDiffers: the output folder holds another job.
        JobBusy: another process works on it.
        TooManyRejects: more rows were rejected than may be.
        OutputFailed: a file cannot be written.
        UnknownModel, VersionCorrupt, FeaturesUnavailable, RegistryUnavailable: as they say.
    """
    before = stamp(request.entities)
    entities = examine(request.entities)
    folder = OutputFolder(request.out.resolve())
    begun = _half_done(folder)
    with held_version(settings, request.model, request.version, request.alias, begun) as version:
        if version.note:
            watcher.note(version.note)
        wanted = Wanted(
            model=request.model,
            version=version.version,
            contract_digest=version.digest,
            entities=entities,
            options=request.options,
        )
        with folder.locked():
            job = _begun(folder, wanted, clock)
            return _Run(settings, request, folder, job, version, before, watcher, clock).go()


def _half_done(folder: OutputFolder) -> Wanted | None:
    """Return what a job that is to go on was asked for.

    One that is whole is not told as today's champion's.
    """
    job = None if folder.is_finished else folder.read_job()
    return None if job is None else job.wanted


def _begun(folder: OutputFolder, wanted: Wanted, clock: Clock) -> Job:
    found = folder.read_job()
    if found is None:
        return Job(id=uuid.uuid4().hex, started=clock(), wanted=wanted)
    if differences := wanted.differences(found.wanted):
        raise JobDiffers(str(folder.path), differences)
    return found


class _OtherSources(OutputFailed):
    """A chunk was joined with other sources than those before it."""


class _Run:
    def __init__(  # noqa: PLR0917 - its parts, wired once
        self,
        settings: Settings,
        request: Request,
        folder: OutputFolder,
        job: Job,
        located: Located,
        before: tuple[int, int],
        watcher: Watcher,
        clock: Clock,
    ) -> None:
        self._settings, self._request, self._folder = settings, request, folder
        self._job, self._watcher, self._clock = job, watcher, clock
        self._version_folder = located.folder
        self._contract = _contract(located)
        if settings.own_code_only:
            CarriedCode(settings.root / "bentos" / request.model).require(located.folder)
        self._began = time.perf_counter()
        self._records: dict[int, ChunkRecord] = {}
        self._resumed = 0
        self._stamp = before

    def go(self) -> Outcome:
        """Do what is not done yet, and say so."""
        self._look()
        todo = [chunk for chunk in range(self._job.chunks) if chunk not in self._records]
        self._limit()
        if todo:
            # It checks options and columns: a job that cannot begin must not stand in the folder.
            worker = ChunkWorker(self._asked(), _THREADS)
            self._folder.unfinish()
            self._folder.write_job(self._job)
            self._folder.clear(self._records)
            self._watcher.begins(self._job.wanted.entities.rows, self._resumed)
            self._work(worker, todo)
        return self._finished()

    def _work(self, worker: ChunkWorker, todo: list[int]) -> None:
        try:
            with closing(self._request.engine(worker, todo, self._watcher.worked)) as records:
                for record in records:
                    self._take(record)
        except TooManyRejects:
            self._track("FAILED", {})
            raise
        except _OtherSources:
            # Other processes went on with these sources until the engine was closed.
            for chunk in todo:
                if chunk not in self._records:
                    self._folder.drop(chunk)
            raise
        if stamp(self._request.entities) != self._stamp:
            for chunk in todo:
                self._folder.drop(chunk)
            raise OutputFailed(
                f"{self._request.entities} has changed while the job ran; what was done is dropped.",
                hint="Have it as it was, or begin anew with another --out.",
            )

    def _look(self) -> None:
        """Find out which chunks are done, and whole."""
        for chunk in range(self._job.chunks):
            record = self._folder.record(chunk)
            if record is not None:
                self._records[chunk] = record
            elif self._folder.has_record(chunk):
                first, end = self._job.bounds(chunk)
                self._watcher.note(
                    f"Rows {first:,} to {end - 1:,} are not as they were written: they are done anew."
                )
        self._leave_one_past()
        self._resumed = sum(record.rows for record in self._records.values())

    def _leave_one_past(self) -> None:
        """Leave out what was joined with other sources than most chunks.

        A run that is killed may have written such chunks before it could compare them.
        """
        joined = {chunk: frozenset(r.sources.items()) for chunk, r in self._records.items()}
        for kept, _ in Counter(joined.values()).most_common(1):
            for chunk in [chunk for chunk, sources in joined.items() if sources != kept]:
                del self._records[chunk]
                first, end = self._job.bounds(chunk)
                self._watcher.note(
                    f"Rows {first:,} to {end - 1:,} were joined with other sources than the rest: "
                    "they are done anew."
                )

    def _asked(self) -> Asked:
        return Asked(
            settings=self._settings,
            job=self._job,
            entities=self._request.entities.resolve(),
            out=self._folder.path,
            version_folder=self._version_folder,
            memory_limit=memory_for_joins(1),
        )

    def _take(self, record: ChunkRecord) -> None:
        before = next(iter(self._records.values()), record)
        changed = [v for v, digest in record.sources.items() if digest != before.sources.get(v)]
        if changed:
            raise _OtherSources(
                f"The sources of {', '.join(changed)} have changed since the job began: "
                "its rows would not fit together.",
                hint="Bring them back as they were, or begin anew with another --out.",
            )
        self._records[record.chunk] = record
        self._limit()

    def _limit(self) -> None:
        counts = totals(list(self._records.values()))
        most = self._request.most_rejects.of(self._job.wanted.entities.rows)
        if counts["rejected"] > most:
            raise TooManyRejects(
                rejected=counts["rejected"],
                most=most,
                rows=counts["rows"],
                folder=str(self._folder.path),
            )

    def _finished(self) -> Outcome:
        records = [self._records[chunk] for chunk in range(self._job.chunks)]
        files = self._folder.scores(self._job.chunks)
        scores = quality(self._contract, files) if files else {}
        if not self._folder.is_finished:
            self._folder.finish(
                Success(
                    job=self._job,
                    finished=self._clock(),
                    **totals(records),
                    quality=scores,
                    files=tuple(file for record in records for file in record.files),
                )
            )
        return self._track("FINISHED", scores)

    def _track(self, status: str, scores: dict[str, float]) -> Outcome:
        seconds = time.perf_counter() - self._began
        outcome = Outcome(
            job=self._job,
            **totals(list(self._records.values())),
            resumed_rows=self._resumed,
            seconds=seconds,
            quality=scores,
            run_id=None,
        )
        return track(self._settings, outcome, status, self._clock(), self._watcher.note)


def _contract(located: Located) -> Contract:
    return parse_contract((located.folder / CONTRACT).read_bytes())
