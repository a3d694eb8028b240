"""Compute on-demand columns for an entity frame, under the same policies as for a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trivet.columns import from_json
from trivet.contract import Column, Default
from trivet.errors import PredictionFailed
from trivet.features.on_demand import OnDemandTransform
from trivet.features.question import ARROW, column_of, typed


def with_computed(
    columns: Sequence[Column],
    inputs: Sequence[Column],
    transforms: Sequence[OnDemandTransform],
    entities: pa.Table,
    features: pa.Table,
) -> pa.Table:
    """Return n rows of columns: those that were joined, and those that are computed from them.

    A transform sees what it would see in a service: an absent input as its policy says, and no row
    at all that a service would reject; such a row gets nulls.

    Args:
        columns: of feature views and of on-demand views; the order of the result.
        inputs: what the transforms take beside them.
        transforms: the code of the on-demand views.
        entities: n rows of the entity frame, which has what a request would have.
        features: the n rows' columns of feature views, inputs included.

    Raises:
        BadSetting: the entity frame lacks an input, or something is not of its dtype.
        PredictionFailed: an on-demand view's own code failed.
    """
    known = {column.name: column for column in (*columns, *inputs)}
    found = {name: features[name] for name in features.column_names}
    for transform in transforms:
        taken = {name: _values(known[name], entities, features) for name in transform.inputs}
        for name, values in _compute(transform, known, taken, len(entities)).items():
            if name in known:
                found[name] = typed(known[name], _array(known[name], values))
    return pa.table({column.name: found[column.name] for column in columns})


def _values(column: Column, entities: pa.Table, features: pa.Table) -> list[Any]:
    """Return an input's n values as Python has them, with the default where one stands in."""
    table = features if column.view is not None else entities
    typed_values = typed(column, column_of(table, column.name))
    if column.dtype == "timestamp":
        plain = _moments(typed_values)
    else:
        values = typed_values.to_pylist()
        # NaN is what pandas makes of a null, and no value of its own: as in the online reader.
        plain = [None if v is None or v != v else v for v in values]  # noqa: PLR0124
    if not isinstance(column.absent, Default):
        return plain
    default = from_json(column.dtype, column.absent.default)
    return [default if value is None else value for value in plain]


def _moments(values: pa.ChunkedArray) -> list[Any]:
    """Return moments as aware datetimes in UTC.

    By numpy: Arrow looks the time zone up for every single one, which takes ten times as long.
    """
    naive: list[Any] = values.cast(pa.timestamp("us")).to_numpy().tolist()
    return [None if moment is None else moment.replace(tzinfo=UTC) for moment in naive]


def _compute(
    transform: OnDemandTransform,
    known: Mapping[str, Column],
    taken: Mapping[str, list[Any]],
    n: int,
) -> dict[str, list[Any]]:
    answered = np.ones(n, dtype=np.bool_)
    for name, values in taken.items():
        if known[name].absent == "reject":
            answered &= np.fromiter((value is not None for value in values), np.bool_, n)
    rows: npt.NDArray[np.int64] = np.flatnonzero(answered)
    try:
        computed = transform.compute(
            {name: [values[row] for row in rows] for name, values in taken.items()}
        )
        return {name: _spread(values, rows, n) for name, values in computed.items()}
    except Exception as err:
        raise PredictionFailed(f"The on-demand view {transform.name}", err) from err


def _spread(values: Sequence[Any], rows: npt.NDArray[np.int64], n: int) -> list[Any]:
    spread: list[Any] = [None] * n
    for row, value in zip(rows, values, strict=True):
        spread[row] = value
    return spread


def _array(column: Column, values: list[Any]) -> pa.ChunkedArray:
    # Times and truths have one Arrow type; what a transform gives as a number may be either.
    numbers = column.dtype in ("int64", "float64")
    return pa.chunked_array([pa.array(values, None if numbers else ARROW[column.dtype])])
