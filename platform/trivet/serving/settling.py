"""From what was asked and read to what preprocess takes: overrides, policies, computed columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from trivet.columns import Arrays, from_json
from trivet.contract import Column, Contract, Default
from trivet.errors import Fault, InvalidInstances, PredictionFailed
from trivet.features.values import AbsentValue, Features
from trivet.serving.asking import Asked


class Transform(Protocol):
    """An on-demand view's code; `trivet.features.on_demand.OnDemandTransform`."""

    @property
    def name(self) -> str:
        """The view's name."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns that it takes."""
        ...

    def compute(self, values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Compute n rows of every output from n values of every input."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Checked rows with their features in place: what the pipeline takes."""

    columns: dict[str, npt.NDArray[Any]]
    absent: tuple[AbsentValue, ...]


class Settler:
    """Puts everything in place for one version."""

    def __init__(self, contract: Contract, transforms: Sequence[Transform]) -> None:
        """`transforms`: the code of the contract's on-demand views, in its order."""
        self._arrays = Arrays(contract.columns)
        self._computed_columns = contract.computed
        self._transforms = transforms

    def settle(self, asked: Asked, features: Features) -> Prepared:
        """Put overrides and policies over what was read, and compute what is computed on demand.

        Raises:
            InvalidInstances: a value is absent and its policy is `reject`.
            PredictionFailed: an on-demand view's code failed.
        """
        values = {**features.values, **asked.request}
        absent = _settled(values, features.absent, asked)
        for transform in self._transforms:
            values |= _computed(transform, values, asked.rows)
        if self._transforms:
            nulls = tuple(_nulls(self._computed_columns, values))
            absent += _settled(values, nulls, asked)
        return Prepared(columns=self._arrays.of(values), absent=absent)


def _settled(
    values: dict[str, list[Any]], absent: Sequence[AbsentValue], asked: Asked
) -> tuple[AbsentValue, ...]:
    """Put overrides and then policies over values; return what is absent even so.

    The mapping is changed, and none of the lists in it: a row of a cache is in many of them.
    """
    for name, by_row in asked.overrides.items():
        if name in values:
            values[name] = [by_row.get(row, value) for row, value in enumerate(values[name])]
    if asked.overrides:
        absent = [a for a in absent if a.row not in asked.overrides.get(a.column.name, {})]
    faults = [_fault(a, asked) for a in absent if a.column.absent == "reject"]
    if faults:
        raise InvalidInstances(faults)
    filled: dict[str, list[Any]] = {}
    for value in absent:
        column = value.column
        if isinstance(column.absent, Default):
            if column.name not in filled:
                filled[column.name] = list(values[column.name])
            filled[column.name][value.row] = from_json(column.dtype, column.absent.default)
    values |= filled
    return tuple(absent)


def _computed(
    transform: Transform, values: Mapping[str, list[Any]], rows: int
) -> dict[str, list[Any]]:
    try:
        computed = transform.compute({name: values[name] for name in transform.inputs})
        if any(len(column) != rows for column in computed.values()):
            raise ValueError(f"{rows} rows went in, another number came out")  # noqa: TRY301
    except Exception as err:
        raise PredictionFailed(f"The on-demand view {transform.name}", err) from err
    return computed


def _nulls(columns: Iterable[Column], values: Mapping[str, list[Any]]) -> Iterator[AbsentValue]:
    for column in columns:
        for row, value in enumerate(values[column.name]):
            if value is None:
                yield AbsentValue(row=row, column=column, why="null", age_seconds=None)


def _fault(value: AbsentValue, asked: Asked) -> Fault:
    keys = ", ".join(f"{name}={values[value.row]!r}" for name, values in asked.keys.items())
    aged = "" if value.age_seconds is None else f" ({value.age_seconds:.0f} s old)"
    return Fault(
        row=value.row,
        field=value.column.name,
        detail=f"{value.column.name} is {value.why}{aged} for {keys}",
    )
