"""One version, ready to answer in this worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from trivet.columns import from_json, to_columns
from trivet.contract import Contract, Default, parse_contract
from trivet.errors import Fault, InvalidInstances, VersionCorrupt
from trivet.features.values import AbsentValue, Features
from trivet.live import CONTRACT
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.pipeline import Pipeline, Predicted, verify_golden_rows
from trivet.runtime.predictor import Predictor
from trivet.serving.asking import Asked, Asker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Reader(Protocol):
    """Reads a contract's feature columns for rows of join keys."""

    def read(self, keys: Mapping[str, Sequence[Any]], at: datetime) -> Features:
        """See `trivet.features.reader.OnlineReader.read`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Checked rows with their features in place: what the pipeline takes."""

    columns: dict[str, npt.NDArray[Any]]
    absent: tuple[AbsentValue, ...]


class Version:
    """A loaded version: its contract, its code, its predictor and its reader of features."""

    def __init__(
        self, number: int, contract: Contract, pipeline: Pipeline, reader: Reader | None
    ) -> None:
        """`reader`: None where the contract takes nothing from Feast."""
        self.number = number
        self.contract = contract
        self.digest = contract.digest
        self._asker = Asker(contract)
        self._pipeline = pipeline
        self._reader = reader

    def check(self, instances: list[Any]) -> Asked:
        """Check instances against the contract."""
        return self._asker.check(instances)

    def fetch(self, asked: Asked, at: datetime) -> Features:
        """Read the features of the rows that were asked for, as of a moment."""
        if self._reader is None:
            return Features(values={}, absent=())
        return self._reader.read(asked.keys, at)

    def settle(self, asked: Asked, features: Features) -> Prepared:
        """Put overrides and policies over what was read.

        Raises:
            InvalidInstances: a value is absent and its policy is `reject`.
        """
        values = {**features.values, **asked.request}
        for name, by_row in asked.overrides.items():
            values[name] = [by_row.get(row, value) for row, value in enumerate(values[name])]
        absent = tuple(a for a in features.absent if a.row not in _overridden(asked, a))
        faults = [_fault(a, asked) for a in absent if a.column.absent == "reject"]
        if faults:
            raise InvalidInstances(faults)
        for value in absent:
            if isinstance(value.column.absent, Default):
                default = from_json(value.column.dtype, value.column.absent.default)
                values[value.column.name][value.row] = default
        return Prepared(columns=to_columns(self.contract.columns, values), absent=absent)

    def predict(self, prepared: Prepared) -> Predicted:
        """Run preprocess, predict and postprocess."""
        return self._pipeline.run(prepared.columns)

    def verify(self) -> None:
        """Predict the golden rows; see `verify_golden_rows`."""
        verify_golden_rows(self._pipeline, self.contract)

    def probe(self, at: datetime) -> None:
        """Read one golden row's features, to see whether the feature store answers.

        Raises:
            FeaturesUnavailable: it does not.
        """
        if self._reader is not None and self.contract.golden:
            row = self.contract.golden[0].request
            self._reader.read({key.name: [row[key.name]] for key in self.contract.join_keys}, at)


def load_version(number: int, folder: Path, open_reader: Callable[[Contract], Reader]) -> Version:
    """Load a version from its local copy and verify its golden rows.

    Args:
        number: of the version.
        folder: the complete local copy.
        open_reader: makes a reader; called only for a contract with features from Feast.

    Raises:
        VersionCorrupt: the copy cannot be read or does not answer as its contract says.
    """
    try:
        contract = parse_contract((folder / CONTRACT).read_bytes())
    except OSError as err:
        raise VersionCorrupt(f"Version {number} has no readable contract: {err}") from err
    pipeline = Pipeline.load(folder, _predictor(folder, contract), contract.output)
    reader = open_reader(contract) if contract.feature_service is not None else None
    version = Version(number, contract, pipeline, reader)
    version.verify()
    return version


def _predictor(folder: Path, contract: Contract) -> Predictor:
    if contract.runtime.kind == "onnx":
        return OnnxPredictor(folder / "model.onnx", contract.output)
    # Only a version that needs MLflow's own flavor makes a worker import it.
    from trivet.registry.pyfunc import PyfuncPredictor

    return PyfuncPredictor(folder, contract.output)


def _overridden(asked: Asked, value: AbsentValue) -> dict[int, Any]:
    return asked.overrides.get(value.column.name, {})


def _fault(value: AbsentValue, asked: Asked) -> Fault:
    keys = ", ".join(f"{name}={values[value.row]!r}" for name, values in asked.keys.items())
    aged = "" if value.age_seconds is None else f" ({value.age_seconds:.0f} s old)"
    return Fault(
        row=value.row,
        field=value.column.name,
        detail=f"{value.column.name} is {value.why}{aged} for {keys}",
    )
