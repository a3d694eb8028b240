"""How good the predictions were, where the entity file says what happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trivet.contract import Classification, Contract
from trivet.errors import BadSetting
from trivet.runtime.predictor import Output

MOST_ROWS = 1_000_000
"""Labelled rows that are scored, spread over all; some 30 MB, and an AUC to three digits."""
_TRUTH = "truth"


def check_label(contract: Contract, name: str, kind: pa.DataType) -> None:
    """See that a column can hold the truth: class ids or names, or numbers.

    Raises:
        BadSetting: it cannot.
    """
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    number = pa.types.is_integer(plain) or pa.types.is_floating(plain) or pa.types.is_null(plain)
    text = pa.types.is_string(plain) or pa.types.is_large_string(plain)
    if not (number or (text and isinstance(contract.output, Classification))):
        raise BadSetting(f"The label {name} is of type {kind}.")


def truths(contract: Contract, labels: pa.Array) -> pa.Array:
    """Return n labels as class ids or values; null where there is none, or none of the classes."""
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    if not isinstance(contract.output, Classification):
        return labels.cast(pa.float64(), safe=False)
    classes = contract.output.classes
    if pa.types.is_string(labels.type) or pa.types.is_large_string(labels.type):
        import pyarrow.compute as pc

        return pc.index_in(labels.cast(pa.string()), pa.array(classes)).cast(pa.int64())
    numbers = labels.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    known = (numbers >= 0) & (numbers < len(classes)) & (np.trunc(numbers) == numbers)
    return pa.array(np.where(known, numbers, 0).astype(np.int64), mask=~known)


def scored(truth: pa.Array, raw: Sequence[Output]) -> pa.Table:
    """Return what it takes to score m predicted rows: the truth, and what the model gave.

    Args:
        truth: m values.
        raw: the model's output for them, in parts.
    """
    columns = {_TRUTH: truth}
    for name in raw[0] if raw else ():
        whole = np.concatenate([part[name] for part in raw])
        if whole.ndim == 1:
            columns[name] = pa.array(whole)
        else:
            columns |= {f"{name}.{n}": pa.array(whole[:, n]) for n in range(whole.shape[1])}
    return pa.table(columns)


def quality(contract: Contract, files: Sequence[Path]) -> dict[str, float]:
    """Score what the files of all chunks hold; nothing where no row has a label."""
    from trivet.runtime.scores import score

    counts = [pq.read_metadata(file).num_rows for file in files]
    step = max(1, -(-sum(counts) // MOST_ROWS))
    tables = [
        table.take(np.arange(0, len(table), step))
        for table in map(pq.read_table, files)
        if len(table)
    ]
    if not tables:
        return {}
    table = pa.concat_tables(tables)
    table = table.filter(table[_TRUTH].is_valid())
    if not len(table):
        return {}
    truth, raw = table[_TRUTH].to_numpy(), _raw(table)
    return {"labelled_rows": float(len(table)), **score(contract.output, truth, raw)}


def _raw(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    if "value" in table.column_names:
        return {"value": table["value"].to_numpy()}
    parts = [name for name in table.column_names if name.startswith("probabilities.")]
    probabilities = np.stack([table[name].to_numpy() for name in parts], axis=1)
    return {"label": table["label"].to_numpy(), "probabilities": probabilities}
