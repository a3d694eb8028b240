"""The columns of a job's output, and a chunk's rows in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trivet.batch.given import Given, Reject
from trivet.batch.job import Job
from trivet.batch.settling import Settled, names_of_absent
from trivet.contract import Contract
from trivet.errors import BadSetting
from trivet.features.question import ARROW
from trivet.runtime.predictor import Output

ROW, MISSING, VERSION, DIGEST = "row", "missing", "model_version", "contract_digest"
_REJECTS = pa.schema([(ROW, pa.int64()), ("field", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Some rows of a chunk that went through together."""

    settled: Settled
    """Its rows count among the chunk's."""
    columns: list[pa.Array]
    """The answers, in the columns of the version's answers."""
    raw: Output

    @property
    def rows_missing(self) -> int:
        """How many of its rows lack a feature."""
        masks = list(self.settled.absent.values())
        return int(np.logical_or.reduce(masks).sum()) if masks else 0


class Layout:
    """The output of one job."""

    def __init__(
        self,
        *,
        job: Job,
        contract: Contract,
        kept: Sequence[str],
        predicted: pa.Schema,
        entities: pa.Schema,
    ) -> None:
        """Name the columns.

        Args:
            job: whose options say what else goes along.
            contract: of the version.
            kept: the entity file's columns.
            predicted: the columns of the version's answers.
            entities: of the entity file.

        Raises:
            BadSetting: two have one name, or the partitions are by one that is not there.
        """
        self._wanted = job.wanted
        self._predicted = predicted
        self._features = contract.columns if job.wanted.options.with_features else ()
        self.schema = self._named([entities.field(name) for name in kept])

    def table(
        self,
        first: int,
        given: Given,
        answered: Sequence[Answered],
        rows: npt.NDArray[np.int64],
    ) -> pa.Table:
        """Lay a chunk's predicted rows out.

        Args:
            first: the number of the chunk's first row.
            given: the chunk.
            answered: what became of it.
            rows: the numbers of the predicted rows within the chunk.
        """
        taken = given.kept.take(pa.array(rows)) if given.kept.column_names else given.kept
        settled = [one.settled for one in answered]
        parts: dict[str, Any] = {name: taken[name] for name in taken.column_names}
        for place, field in enumerate(self._predicted):
            chunks = [one.columns[place] for one in answered]
            parts[field.name] = pa.chunked_array(chunks, field.type)
        for column in self._features:
            chunks = [c for one in settled for c in one.features[column.name].chunks]
            parts[_feature(column.name)] = pa.chunked_array(chunks, ARROW[column.dtype])
        parts[ROW] = pa.array(rows + first)
        missing = [names_of_absent(one.absent, len(one.rows)) for one in settled]
        parts[MISSING] = pa.chunked_array(missing, pa.list_(pa.string()))
        parts[VERSION] = pa.array(np.full(len(rows), self._wanted.version, dtype=np.int64))
        digest = pa.array([self._wanted.contract_digest], pa.string())
        parts[DIGEST] = digest.take(pa.array(np.zeros(len(rows), dtype=np.int64)))
        return pa.table([parts[name] for name in self.schema.names], schema=self.schema)

    def _named(self, kept: list[pa.Field]) -> pa.Schema:
        fields = [
            pa.field(ROW, pa.int64()),
            *kept,
            *self._predicted,
            pa.field(MISSING, pa.list_(pa.string())),
            pa.field(VERSION, pa.int64()),
            pa.field(DIGEST, pa.string()),
            *(pa.field(_feature(c.name), ARROW[c.dtype]) for c in self._features),
        ]
        names = [field.name for field in fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadSetting(
                f"The output would have {', '.join(twice)} twice.",
                hint="--keep names the entity file's columns that go along; rename those.",
            )
        partition_by = self._wanted.options.partition_by
        if unknown := [name for name in partition_by if name not in names]:
            raise BadSetting(
                f"The output has no column {', '.join(unknown)} to be partitioned by.",
                hint=f"--keep brings one of the entity file along. It has {', '.join(names)}.",
            )
        return pa.schema(fields)


def rejects_table(rejects: Sequence[Reject], first: int) -> pa.Table:
    """Return a chunk's rejects as they are stored: a row a fault, in the entity file's order."""
    ordered = sorted(rejects, key=lambda reject: reject.row)
    columns = (
        [reject.row + first for reject in ordered],
        [reject.field for reject in ordered],
        [reject.reason for reject in ordered],
    )
    arrays = [pa.array(c, f.type) for c, f in zip(columns, _REJECTS, strict=True)]
    return pa.table(arrays, schema=_REJECTS)


def _feature(name: str) -> str:
    return f"features.{name}"
