"""Events of a push source as JSON has them: checked one by one, and made the frame that is pushed.

event timestamps, and features that are times: ISO 8601 (without a zone: UTC), or seconds since 1970
whole numbers, numbers, texts, truths: JSON's own; null where a feature has no value
whatever else Feast has a type for: as it comes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from feast.value_type import ValueType

from trivet.columns import from_json
from trivet.contract import DType
from trivet.errors import Fault, InvalidInstances
from trivet.features.push import Pusher

Row = Mapping[str, Any]


class Events:
    """The columns of one push source, and how the JSON of each is read."""

    def __init__(self, pusher: Pusher) -> None:
        """`pusher`: of the source."""
        columns = pusher.columns
        self._readers = [
            (name, _PLAIN.get(kind), _READERS.get(kind, _as_it_is), name in columns.required)
            for name, kind in columns.kinds.items()
        ]
        self._names = frozenset(columns.kinds)

    def read(self, row: Row) -> dict[str, Any]:
        """Return the row of one event, its values as Python has them.

        Columns that the source does not know are kept: its batch source may have them.

        Raises:
            InvalidInstances: a column is missing, null where it must not be, or of another type.
        """
        read = (
            {name: row[name] for name in row.keys() - self._names}
            if len(row) > len(self._readers)
            else {}
        )
        faults = []
        for name, plain, reader, required in self._readers:
            value = row.get(name)
            if value is None:
                if required or name not in row:
                    faults.append(Fault(field=name, detail=f"{name} is required"))
                read[name] = None
            elif type(value) is plain:
                read[name] = value
            else:
                try:
                    read[name] = reader(value)
                except ValueError as err:
                    faults.append(Fault(field=name, detail=f"{name}: {err}"))
        if faults:
            raise InvalidInstances(faults)
        return read


def to_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return n rows with the same columns as the frame that `Pusher.push` takes."""
    return pd.DataFrame({name: [row[name] for row in rows] for name in rows[0]})


def _reader(dtype: DType) -> Callable[[Any], Any]:
    return lambda value: from_json(dtype, value)


def _moment(value: Any) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a time is expected: ISO 8601, or seconds since 1970")
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("a time is expected: ISO 8601, or seconds since 1970") from None


def _as_it_is(value: Any) -> Any:
    return value


_PLAIN: Mapping[ValueType, type] = {
    ValueType.STRING: str,
    ValueType.BOOL: bool,
    ValueType.DOUBLE: float,
    ValueType.FLOAT: float,
}
"""What needs no look: JSON has no number that is none, and whole numbers have a range."""

_READERS: Mapping[ValueType, Callable[[Any], Any]] = {
    ValueType.INT32: _reader("int64"),
    ValueType.INT64: _reader("int64"),
    ValueType.FLOAT: _reader("float64"),
    ValueType.DOUBLE: _reader("float64"),
    ValueType.STRING: _reader("string"),
    ValueType.BOOL: _reader("bool"),
    ValueType.UNIX_TIMESTAMP: _moment,
}
