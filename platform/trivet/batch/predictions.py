"""A version's answers as Arrow columns: one a field, `field.part` for a field of parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from trivet.columns import to_json
from trivet.contract import Classification, Contract
from trivet.runtime.pipeline import Pipeline, golden_columns
from trivet.runtime.steps import PredictionColumns

_KINDS = {
    "f": pa.float64(),
    "i": pa.int64(),
    "u": pa.int64(),
    "b": pa.bool_(),
    "M": pa.timestamp("us"),
}
"""Of numpy's kinds; all others become text."""


def prediction_schema(contract: Contract, pipeline: Pipeline) -> pa.Schema:
    """Return the columns of a version's answers, the same for every part of a job.

    Raises:
        PredictionFailed: its postprocess cannot name so much as nothing.
    """
    if contract.golden:
        named = pipeline.run_columns(golden_columns(contract)).named
    else:
        named = pipeline.name(_no_output(contract))
    return pa.schema([(name, _kind(values)) for name, values in _flat(named)])


def to_arrow(named: PredictionColumns, schema: pa.Schema) -> list[pa.Array]:
    """Return n answers in the schema's columns; NaN becomes null, as it does in JSON.

    Raises:
        ValueError: they have other fields, or one does not fit its type.
    """
    found = dict(_flat(named))
    if list(found) != schema.names:
        raise ValueError(f"the fields are {list(found)}, and were {schema.names}")
    return [_array(found[field.name], field.type) for field in schema]


def _flat(columns: PredictionColumns, before: str = "") -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for name, column in columns.items():
        if isinstance(column, Mapping):
            yield from _flat(column, f"{before}{name}.")
        else:
            yield before + name, column


def _kind(values: npt.NDArray[Any]) -> pa.DataType:
    return _KINDS.get(values.dtype.kind, pa.string())


def _array(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_string(kind):
        return pa.array(values, from_pandas=True).cast(kind)
    return pa.array([_text(value) for value in values.tolist()], kind)


def _text(value: Any) -> str | None:
    """Return what is no text as its JSON, so that nothing is lost of a version's own fields."""
    plain = to_json(value)
    return plain if plain is None or isinstance(plain, str) else orjson.dumps(plain).decode()


def _no_output(contract: Contract) -> dict[str, npt.NDArray[Any]]:
    if isinstance(contract.output, Classification):
        probabilities = np.zeros((0, len(contract.output.classes)))
        return {"label": np.zeros(0, dtype=np.int64), "probabilities": probabilities}
    return {"value": np.zeros(0)}
