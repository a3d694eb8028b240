"""What a batch job is: fixed when it begins, kept with its output, and held to when it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

BLOCK = 2_000
"""Rows predicted at once: ONNX Runtime is fastest at one to two thousand, on one thread."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(_Document):
    """What decides what comes out, beside the rows and the version."""

    moment: Literal["timestamp", "event", "now"] = "timestamp"
    """When a row is asked: at its timestamp, the contract's lead before it, or at the job's start."""
    timestamp: str = "event_timestamp"
    online: bool = False
    """Values of the online store, not of the offline store as of the row's moment."""
    rows_per_chunk: int = Field(default=100_000, ge=1)
    keep: tuple[str, ...] | None = None
    """The entity file's columns in the output; None: the join keys, and the timestamp."""
    with_features: bool = False
    overrides: tuple[str, ...] = ()
    """Features that the entity file has values of its own for."""
    partition_by: tuple[str, ...] = ()
    label: str | None = None
    compression: Literal["zstd", "snappy"] = "zstd"


class EntityFile(_Document):
    """The rows that are asked about."""

    sha256: str
    rows: int


class Wanted(_Document):
    """What is asked for: a job that is found in the output folder must be the same."""

    model: str
    version: int
    contract_digest: str
    entities: EntityFile
    options: Options

    def differences(self, other: Wanted) -> list[str]:
        """Say what another job has otherwise, and what this one has."""
        ours, theirs = dict(_flat(self.model_dump())), dict(_flat(other.model_dump()))
        return [
            f"{name.replace('_', ' ')} {_short(theirs[name])}, not {_short(value)}"
            for name, value in ours.items()
            if value != theirs[name]
        ]


class Job(_Document):
    """A job under way."""

    schema_version: Literal[1] = 1
    id: str
    started: AwareDatetime
    """The moment that `now` means, also for a job that goes on later."""
    wanted: Wanted

    @property
    def chunks(self) -> int:
        """How many parts the rows are cut into; of no rows there is one, which has the columns."""
        return max(1, -(-self.wanted.entities.rows // self.wanted.options.rows_per_chunk))

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Return the first row of a chunk, and the row after its last one."""
        size, rows = self.wanted.options.rows_per_chunk, self.wanted.entities.rows
        return chunk * size, min((chunk + 1) * size, rows)


class WrittenFile(_Document):
    """One file that a chunk has written."""

    path: str
    """Below the output folder."""
    bytes: int
    sha256: str


class ChunkRecord(_Document):
    """What came of a chunk; written when all of its files are in place."""

    chunk: int
    first: int
    rows: int
    predicted: int
    rejected: int
    missing: int
    """Rows that were predicted although some feature was absent."""
    files: tuple[WrittenFile, ...]
    sources: dict[str, str | None] = {}
    """By feature view the SHA-256 of the files that were joined; None where there are none."""


class Asked(BaseModel):
    """What a process of its own needs to work on chunks; it travels there pickled."""

    model_config = ConfigDict(frozen=True)

    settings: Any
    """`trivet.settings.Settings`, made already: not to be read anew in another place."""
    job: Job
    entities: Path
    out: Path
    version_folder: Path
    memory_limit: str


def _flat(document: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, "entity file " if name == "entities" else before)
        else:
            yield before + name, value


def _short(value: Any) -> str:
    """Return a value as a sentence has it; of a digest the beginning is enough."""
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text[:12] if len(text) == 64 else text or "none"  # noqa: PLR2004 - hex of SHA-256
