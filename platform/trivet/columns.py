"""How values become the columns that preprocess takes: the same arrays in training and in serving.

| dtype | array | null |
| --- | --- | --- |
| float64 | float64 | NaN |
| int64, bool | int64, bool; float64 where the policy lets nulls through | NaN |
| string | object (str) | None |
| timestamp | datetime64[us], UTC | NaT |

An int64 column that may be null is always float64, even where no row happens to be null: a column's
dtype must not depend on which rows stand together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from trivet.contract import Column, DType

Columns = Mapping[str, npt.NDArray[Any]]
"""Named one-dimensional arrays of equal length; the names are the contract's."""


def to_array(column: Column, values: Sequence[Any]) -> npt.NDArray[Any]:
    """Turn one column's Python values (None where absent) into its array.

    Raises:
        ValueError: a null where the policy lets none through.
    """
    nullable = column.absent == "null"
    _refuse_nulls(column, values)
    return _MAKERS[column.dtype](values, nullable)


class Arrays:
    """Makes the arrays of some columns; what follows from the columns alone is worked out once.

    All that become float64 are made at once, as rows of one matrix: to make an array costs a request
    of one row more than its values do.
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        """`columns`: in the contract's order, which is that of the arrays."""
        ordered = tuple(columns)
        self._names = tuple(column.name for column in ordered)
        self._floats = tuple(column.name for column in ordered if _becomes_float(column))
        self._required = tuple(
            column for column in ordered if _becomes_float(column) and column.absent != "null"
        )
        self._others = tuple(column for column in ordered if not _becomes_float(column))

    def of(self, values: Mapping[str, Sequence[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Turn n values by column name into arrays in the contract's order.

        Raises:
            ValueError: a null where the policy of its column lets none through.
        """
        for column in self._required:
            _refuse_nulls(column, values[column.name])
        matrix = np.array([values[name] for name in self._floats], dtype=np.float64)
        made: dict[str, npt.NDArray[Any]] = dict(zip(self._floats, matrix, strict=True))
        if not self._others:
            return made
        for column in self._others:
            made[column.name] = to_array(column, values[column.name])
        return {name: made[name] for name in self._names}


def to_columns(
    columns: Iterable[Column], values: Mapping[str, Sequence[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Turn values by column name into arrays in the contract's order, once; see `Arrays`.

    Raises:
        ValueError: a null where the policy of its column lets none through.
    """
    return Arrays(columns).of(values)


def from_json(dtype: DType, value: Any) -> Any:
    """Turn a JSON value into the Python value of a dtype; None stays None.

    Whole floats are taken as integers, integers as floats; nothing else is converted.

    Raises:
        ValueError: it is of another type; the message says what is expected.
    """
    return None if value is None else _READERS[dtype](value)


def to_json(value: Any) -> Any:
    """Turn a numpy or Python value into what JSON has; NaN and NaT become None."""
    if value is None:
        return None
    if isinstance(value, np.generic):
        return to_json(_moment(value) if isinstance(value, np.datetime64) else value.item())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def stored(column: Column, value: Any) -> Any:
    """Turn one element of a column's array back into the JSON value of its dtype.

    A nullable int64 or bool is a float64 in its array; stored, it is a whole number or a truth value.
    """
    plain = to_json(value)
    if plain is None or column.dtype not in ("int64", "bool"):
        return plain
    return int(plain) if column.dtype == "int64" else bool(plain)


def _moment(value: np.datetime64) -> datetime | None:
    moment = value.astype("datetime64[us]").item()
    return None if moment is None else moment.replace(tzinfo=UTC)


def _becomes_float(column: Column) -> bool:
    return column.dtype == "float64" or (
        column.dtype in ("int64", "bool") and column.absent == "null"
    )


def _refuse_nulls(column: Column, values: Sequence[Any]) -> None:
    if column.absent != "null" and None in values:
        raise ValueError(f"{column.name} has a null, and its policy lets none through")


def _floats(values: Sequence[Any], nullable: bool) -> npt.NDArray[Any]:
    del nullable
    return np.array(values, dtype=np.float64)  # to numpy None is a NaN


def _integers(values: Sequence[Any], nullable: bool) -> npt.NDArray[Any]:
    return _floats(values, nullable) if nullable else np.array(values, dtype=np.int64)


def _booleans(values: Sequence[Any], nullable: bool) -> npt.NDArray[Any]:
    return _floats(values, nullable) if nullable else np.array(values, dtype=np.bool_)


def _strings(values: Sequence[Any], nullable: bool) -> npt.NDArray[Any]:
    del nullable
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _timestamps(values: Sequence[Any], nullable: bool) -> npt.NDArray[Any]:
    del nullable
    naive = [None if v is None else v.astimezone(UTC).replace(tzinfo=None) for v in values]
    return np.array(naive, dtype="datetime64[us]")


_MAKERS = {
    "float64": _floats,
    "int64": _integers,
    "bool": _booleans,
    "string": _strings,
    "timestamp": _timestamps,
}


def _read_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is expected")
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a finite number is expected")
    return number


def _read_integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number is expected")
    if not -(2**63) <= value < 2**63:
        raise ValueError("a whole number of 64 bits is expected")
    return value


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is expected")
    return value


def _read_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string is expected")
    return value


def _read_timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("an ISO 8601 time is expected") from None
    else:
        raise ValueError("an ISO 8601 time is expected")
    if moment.tzinfo is None:
        raise ValueError("an ISO 8601 time with its offset from UTC is expected")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time from the year 1 to 9999 in UTC is expected") from None


_READERS = {
    "float64": _read_float,
    "int64": _read_integer,
    "bool": _read_bool,
    "string": _read_string,
    "timestamp": _read_timestamp,
}
