"""One chunk of a job: read, join, settle, predict, write. The same on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trivet.batch.folder import PREDICTIONS, REJECTS, SCORES, OutputFolder, part_name
from trivet.batch.given import Given, Giver, Reject, rejected_rows
from trivet.batch.job import BLOCK, Asked, ChunkRecord
from trivet.batch.layout import Answered, Layout, rejects_table
from trivet.batch.parts import partitions
from trivet.batch.predictions import prediction_schema, to_arrow
from trivet.batch.rows import read_rows
from trivet.batch.scoring import check_label, scored, truths
from trivet.batch.settling import Settled, blocks, settle
from trivet.batch.sources import FeatureSource, open_source
from trivet.errors import BadSetting, PredictionFailed
from trivet.features.question import Span, span_of
from trivet.runtime.pipeline import verify_golden_rows
from trivet.serving.loaded import load_pipeline

Progress = Callable[[int], None]
"""Is told how many more rows have been worked on."""


class ChunkWorker:
    """Works on chunks of one job, with version and features loaded once."""

    def __init__(self, asked: Asked, threads: int = 1) -> None:
        """Load the version and check the entity file; features are opened by `__enter__`.

        Args:
            asked: the job.
            threads: that predict blocks of a chunk at once. ONNX Runtime lets go of the interpreter, so
                one predicts while another computes features; nothing else of a chunk gains by it.

        Raises:
            VersionCorrupt: the version's golden rows come out otherwise.
            BadSetting: the entity file does not fit the contract or the options.
        """
        self.asked, self._job = asked, asked.job
        self._options = asked.job.wanted.options
        self._folder = OutputFolder(asked.out)
        number = asked.job.wanted.version
        self.contract, self._pipeline = load_pipeline(number, asked.version_folder)
        verify_golden_rows(self._pipeline, self.contract)
        self._predicted = prediction_schema(self.contract, self._pipeline)
        schema = pq.read_schema(asked.entities)
        self._giver = Giver(self.contract, self._job, schema)
        if self._options.label is not None:
            label = self._options.label
            check_label(self.contract, label, schema.field(label).type)
        self._layout = Layout(
            job=self._job,
            contract=self.contract,
            kept=self._giver.kept,
            predicted=self._predicted,
            entities=schema,
        )
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="trivet-block")
        self._source: FeatureSource

    def __enter__(self) -> Self:
        """Open the features."""
        span = self._span()
        source = open_source(
            self.asked.settings,
            self.contract,
            online=self._options.online,
            span=span,
            memory_limit=self.asked.memory_limit,
        )
        self._source = self._stack.enter_context(source)
        self._stack.callback(self._pool.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *raised: object) -> None:
        """Close them."""
        self._stack.close()

    @property
    def digests(self) -> dict[str, str | None]:
        """What the features' sources are, by feature view."""
        return self._source.digests

    def work(self, chunk: int, progress: Progress = lambda _: None) -> ChunkRecord:
        """Bring one chunk to disk, and return what came of it.

        Raises:
            FeaturesUnavailable: a source or store does not answer.
            OutputFailed: a file cannot be written.
        """
        first, end = self._job.bounds(chunk)
        table = read_rows(self.asked.entities, first, end, self._giver.columns)
        given = self._giver.read(table)
        del table
        answered, rejects = self._answer(given, progress)
        return self._write(chunk, given, answered, rejects)

    def _answer(self, given: Given, progress: Progress) -> tuple[list[Answered], list[Reject]]:
        """Predict all rows that can be, block by block."""
        rejects = list(given.rejects)
        usable = np.setdiff1d(np.arange(given.rows), list(rejected_rows(rejects)))
        progress(given.rows - len(usable))
        part = _rows_of(given, usable)
        features = self._source.features(part.keys)
        answered: list[Answered] = []

        def one(block: slice) -> tuple[list[Answered], list[Reject], int]:
            within = np.arange(block.start, block.stop)
            some, own = features.slice(block.start, len(within)), list[Reject]()
            found = list(self._together(_rows_of(part, within), some, own, usable[block]))
            return found, own, len(within)

        for found, refused, rows in self._pool.map(one, blocks(len(usable), BLOCK)):
            answered += found
            rejects += refused
            progress(rows)
        return answered, rejects

    def _together(
        self,
        given: Given,
        features: pa.Table,
        rejects: list[Reject],
        rows: npt.NDArray[np.int64],
    ) -> Iterator[Answered]:
        """Answer rows together; where the version's own code raises, in halves, and then alone.

        Args:
            given: n rows.
            features: the same.
            rejects: is told which of them cannot be answered.
            rows: their numbers in the chunk.
        """
        try:
            settled = settle(self.contract, self._source.transforms, given, features)
            answered = self._predict(settled)
        except (BadSetting, PredictionFailed) as err:  # what was computed may be of no dtype
            if given.rows == 1:
                rejects.append(Reject(row=int(rows[0]), field=None, reason=err.sentence))
                return
            half = given.rows // 2
            for part in (slice(0, half), slice(half, given.rows)):
                within = np.arange(part.start, part.stop)
                some = features.slice(part.start, len(within))
                yield from self._together(_rows_of(given, within), some, rejects, rows[part])
            return
        rejects += [replace(reject, row=int(rows[reject.row])) for reject in settled.rejects]
        if answered is not None:
            yield replace(answered, settled=replace(settled, rows=rows[settled.rows]))

    def _predict(self, settled: Settled) -> Answered | None:
        if not len(settled.rows):
            return None
        predicted = self._pipeline.run_columns(settled.columns)
        try:
            columns = to_arrow(predicted.named, self._predicted)
        except (ValueError, pa.ArrowException) as err:
            raise PredictionFailed("postprocess", err) from err
        return Answered(settled=settled, columns=columns, raw=predicted.raw)

    def _write(
        self, chunk: int, given: Given, answered: list[Answered], rejects: list[Reject]
    ) -> ChunkRecord:
        first, end = self._job.bounds(chunk)
        rows = np.concatenate([np.zeros(0, np.int64), *(one.settled.rows for one in answered)])
        table = self._layout.table(first, given, answered, rows)
        name, compression = part_name(chunk), self._options.compression
        files = [
            self._folder.write_table(f"{PREDICTIONS}/{place}{name}", part, compression)
            for place, part in partitions(table, self._options.partition_by)
        ]
        if rejects:
            path = f"{REJECTS}/{name}"
            files.append(self._folder.write_table(path, rejects_table(rejects, first), compression))
        if given.label is not None:
            truth = truths(self.contract, given.label.take(pa.array(rows)))
            scores = scored(truth, [one.raw for one in answered])
            files.append(self._folder.write_table(f"{SCORES}/{name}", scores, compression))
        record = ChunkRecord(
            chunk=chunk,
            first=first,
            rows=end - first,
            predicted=len(rows),
            rejected=len(list(rejected_rows(rejects))),
            missing=sum(one.rows_missing for one in answered),
            files=tuple(files),
            sources=self.digests,
        )
        self._folder.write_record(record)
        return record

    def _span(self) -> Span | None:
        options = self._options
        if options.moment == "now" or options.online:
            return self._job.started, self._job.started
        with pq.ParquetFile(self.asked.entities) as file:
            span = span_of(file, options.timestamp)
        if span is None or options.moment == "timestamp":
            return span
        lead = timedelta(seconds=self.contract.lead_seconds)
        return span[0] - lead, span[1] - lead


def _rows_of(given: Given, rows: npt.NDArray[np.int64]) -> Given:
    """Return some of the rows, as if they were all; what only the output takes stays whole."""
    taken = pa.array(rows)
    return replace(
        given,
        keys=given.keys.take(taken),
        request=_take(given.request, taken),
        overrides=_take(given.overrides, taken),
        kept=given.kept,
        rejects=(),
    )


def _take(table: pa.Table, rows: pa.Array) -> pa.Table:
    """Return some rows; of a table without columns nothing is to be taken."""
    return table.take(rows) if table.column_names else table
