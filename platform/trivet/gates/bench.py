"""Try a version in the runtime that serves, in a process of its own.

A process as a worker is one: nothing is imported that a worker would not have, and a version that
crashes or hangs takes nobody with it, least of all the follower.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from trivet.errors import VersionCorrupt

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal

_PATIENCE_SECONDS = 120.0
"""For loading and predicting; a pyfunc takes 20 s to load on a busy machine."""


class Asked(BaseModel):
    """What is tried."""

    model_config = ConfigDict(frozen=True)

    version: int
    folder: Path
    latency_rows: tuple[int, ...] = ()
    latency_seconds: float = 0.0
    held_out: Path | None = None
    """Rows to be predicted and scored; every column of the contract is there."""


class Timed(BaseModel):
    """How long predictions of so many rows took."""

    p50_ms: float
    p99_ms: float
    calls: int


class Tried(BaseModel):
    """What came of it; the golden rows came out as they must."""

    load_seconds: float = 0.0
    latency: dict[int, Timed] = {}
    scores: dict[str, float] = {}
    fault: str | None = None
    """Why the version is no use; None: it is."""


class Bench:
    """Tries versions, and remembers what came of golden rows, which do not change by themselves.

    A process that was ended or that took too long is not remembered: a host may have been busy.
    """

    def __init__(self) -> None:
        """Nothing has been tried."""
        self._golden: dict[str, Tried] = {}

    def golden(self, proposal: Proposal) -> Tried:
        """Load the proposed version and predict its golden rows.

        Raises:
            VersionCorrupt: it does not load, or a golden row comes out otherwise.
        """
        digest = proposal.plan.digest
        if digest not in self._golden:
            self._golden[digest] = _try(_asked(proposal))
        return _good(self._golden[digest])

    def latency(
        self, proposal: Proposal, rows: Sequence[int], seconds: float
    ) -> Mapping[int, Timed]:
        """Time the proposed version: for each number of rows, for at most so many seconds.

        Raises:
            VersionCorrupt: as `golden`.
        """
        asked = _asked(proposal, latency_rows=tuple(rows), latency_seconds=seconds)
        return _good(_try(asked)).latency

    def scores(self, version: int, folder: Path, held_out: Path) -> Mapping[str, float]:
        """Score a version on held-out rows, by metric.

        Raises:
            VersionCorrupt: as `golden`, or the rows cannot be predicted.
        """
        return _good(_try(Asked(version=version, folder=folder, held_out=held_out))).scores


def _asked(proposal: Proposal, **more: object) -> Asked:
    fields = {"version": proposal.plan.to_version, "folder": proposal.folder, **more}
    return Asked.model_validate(fields)


def _good(tried: Tried) -> Tried:
    if tried.fault is not None:
        raise VersionCorrupt(tried.fault)
    return tried


def _try(asked: Asked) -> Tried:
    """Try a version.

    Raises:
        VersionCorrupt: its process gave no answer.
    """
    patience = _PATIENCE_SECONDS + 2 * asked.latency_seconds * len(asked.latency_rows)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "trivet.gates.bench_process"],
            input=asked.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        sentence = f"Version {asked.version} did not answer within {patience:g} s."
        raise VersionCorrupt(sentence) from err
    try:
        return Tried.model_validate_json(done.stdout)
    except ValidationError as err:
        last = next(iter(done.stderr.strip().splitlines()[-1:]), "it said nothing")
        raise VersionCorrupt(
            f"Version {asked.version} ended its process with code {done.returncode}: {last}"
        ) from err
