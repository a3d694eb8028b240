"""One version, ready to answer in this worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trivet.columns import Columns
from trivet.contract import Contract, parse_contract
from trivet.errors import PredictionFailed, VersionCorrupt
from trivet.features.values import Features, Found, Keys, Reader
from trivet.live import CONTRACT
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.pipeline import Pipeline, Predicted, golden_columns, verify_golden_rows
from trivet.runtime.predictor import Predictor
from trivet.serving.asking import Asked, Asker
from trivet.serving.room import Room, measured, size_of_files
from trivet.serving.settling import Prepared, Settler, Transform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_QUICK_SECONDS = 0.003
"""Below this a prediction is made where requests are taken in: to hand it to a thread and back costs a
request 0.1 ms, and more on a busy machine."""
_WARM_UPS = 3
_TRY_SECONDS = 0.05
"""A busy worker interrupts most tries of a batch: one that is not interrupted shows what it takes."""


class Version:
    """A loaded version: its contract, its code, its predictor and its reader of features."""

    def __init__(
        self,
        number: int,
        contract: Contract,
        pipeline: Pipeline,
        reader: Reader | None,
        transforms: Sequence[Transform] = (),
    ) -> None:
        """`reader`: None where the contract takes nothing from Feast; `transforms`: in its order."""
        self.number = number
        self.contract = contract
        self.digest = contract.digest
        self._asker = Asker(contract)
        self._pipeline = pipeline
        self._reader = reader
        self._settler = Settler(contract, transforms)
        self._reads = _reads(contract)
        self.quick_rows = 0
        """Up to so many rows are predicted where requests are taken in; 0: none are; see `verify`."""
        self.size = 0
        """Bytes of memory that it takes, as far as that is known; see `trivet.serving.room`."""

    def check(self, instances: list[Any]) -> Asked:
        """Check instances against the contract."""
        return self._asker.check(instances)

    def recall(self, asked: Asked, at: datetime) -> Found | None:
        """Return the features' rows if all of them are in the cache; see `Reader.recall`."""
        return () if self._reader is None else self._reader.recall(asked.keys, at)

    def fetch(self, keys: Keys, at: datetime) -> Found:
        """Return the features' rows, from the store where the cache has none; it may block."""
        return () if self._reader is None else self._reader.fetch(keys, at)

    def judge(self, found: Found, at: datetime) -> Features:
        """Return what of the rows may be used as of a moment."""
        if self._reader is None:
            return Features(values={}, absent=())
        return self._reader.judge(found, at)

    def settle(self, asked: Asked, features: Features) -> Prepared:
        """Put overrides and policies over what was read; see `trivet.serving.settling`."""
        return self._settler.settle(asked, features)

    def predict(self, prepared: Prepared) -> Predicted:
        """Run preprocess, predict and postprocess."""
        return self._pipeline.run(prepared.columns)

    def reads_like(self, other: Version) -> bool:
        """Say whether rows that were read for the other version are what this one reads."""
        if self._reader is None:
            return True
        return other._reader is not None and self._reads == other._reads

    def verify(self, most_rows: int = 0, timer: Callable[[], float] = time.perf_counter) -> None:
        """Predict the golden rows, which warms the runtime, and time batches up to the most rows.

        Args:
            most_rows: of a batch that may be predicted where requests are taken in.
            timer: seconds, for the timing.

        Raises:
            VersionCorrupt: see `verify_golden_rows`.
        """
        for _ in range(_WARM_UPS):
            verify_golden_rows(self._pipeline, self.contract)
        self.quick_rows = self._quick_rows(most_rows, timer) if self.contract.golden else 0

    def _quick_rows(self, most_rows: int, timer: Callable[[], float]) -> int:
        """Return the most rows of 1, 2, 4 and so on that are predicted in time, or none.

        From below: a slow model would take minutes for the most rows.
        """
        golden = golden_columns(self.contract)
        quick, rows = 0, min(1, most_rows)
        while quick < rows:
            columns = {name: np.resize(values, rows) for name, values in golden.items()}
            if not self._is_quick(columns, timer):
                break
            quick, rows = rows, min(2 * rows, most_rows)
        return quick

    def _is_quick(self, columns: Columns, timer: Callable[[], float]) -> bool:
        first = started = timer()
        while started - first < _TRY_SECONDS:
            try:
                self._pipeline.run(columns)
            except PredictionFailed:
                return False
            ended = timer()
            if ended - started < _QUICK_SECONDS:
                return True
            started = ended
        return False

    def probe(self, at: datetime) -> None:
        """Read one golden row's features past the cache, to see whether the feature store answers.

        Raises:
            FeaturesUnavailable: it does not.
        """
        if self._reader is not None and self.contract.golden:
            row = self.contract.golden[0].request
            keys = {key.name: [row[key.name]] for key in self.contract.join_keys}
            self._reader.fetch(keys, at, anew=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSource:
    """Where a contract's features come from, opened for it."""

    reader: Reader
    transforms: Sequence[Transform] = ()


def load_version(
    number: int,
    folder: Path,
    open_source: Callable[[Contract], FeatureSource],
    room: Room | None = None,
    batch_rows: int = 0,
) -> Version:
    """Load a version from its local copy and verify its golden rows.

    Args:
        number: of the version.
        folder: the complete local copy.
        open_source: opens the features; called only for a contract with features from Feast.
        room: what it may take; None: anything.
        batch_rows: the most of a batch; see `Version.verify`.

    Raises:
        VersionCorrupt: the copy cannot be read or does not answer as its contract says.
        VersionTooLarge: it does not fit; nothing of it stays.
    """
    contract = _contract(number, folder)
    size = size_of_files(folder, contract)
    if room is not None:
        room.require(number, size)
    source = None if contract.feature_service is None else open_source(contract)
    with measured() as grown:
        version = Version(
            number,
            contract,
            _pipeline(folder, contract),
            reader=None if source is None else source.reader,
            transforms=() if source is None else source.transforms,
        )
        version.verify(batch_rows)
    version.size = max(size, grown.size)
    if room is not None:
        room.require(number, version.size)
    return version


def load_pipeline(number: int, folder: Path) -> tuple[Contract, Pipeline]:
    """Load what runs a version, without its features; nothing is predicted yet.

    Raises:
        VersionCorrupt: the copy cannot be read.
    """
    contract = _contract(number, folder)
    return contract, _pipeline(folder, contract)


def _contract(number: int, folder: Path) -> Contract:
    try:
        return parse_contract((folder / CONTRACT).read_bytes())
    except OSError as err:
        raise VersionCorrupt(f"Version {number} has no readable contract: {err}") from err


def _pipeline(folder: Path, contract: Contract) -> Pipeline:
    return Pipeline.load(folder, _predictor(folder, contract), contract.output)


def _reads(contract: Contract) -> tuple[Any, ...]:
    """Return what says whether rows of one contract fit another: views and their features, in order."""
    views = tuple(
        (view.name, view.join_keys, tuple(c.source for c in contract.columns_of(view.name)))
        for view in contract.views
    )
    return contract.project, views


def _predictor(folder: Path, contract: Contract) -> Predictor:
    if contract.runtime.kind == "onnx":
        return OnnxPredictor(folder / "model.onnx", contract.output)
    # Only a version that needs MLflow's own flavor makes a worker import it.
    from trivet.registry.pyfunc import PyfuncPredictor

    return PyfuncPredictor(folder, contract.output)
