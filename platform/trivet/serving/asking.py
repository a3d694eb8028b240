"""From a request's bytes to columns of checked values, with every fault of every row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from trivet.columns import from_json
from trivet.contract import Column, Contract, Default, DType
from trivet.errors import Fault, InvalidInstances, MalformedRequest, RequestTooLarge
from trivet.settings import Settings

_MOST_FAULTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, n values a name, in the order of the instances."""

    rows: int
    keys: dict[str, list[Any]]
    request: dict[str, list[Any]]
    overrides: dict[str, dict[int, Any]] = field(default_factory=dict)
    """Values that the caller gave for feature columns, by column and row."""


def parse_instances(body: bytes, settings: Settings) -> list[Any]:
    """Return the `instances` of a JSON body.

    Raises:
        MalformedRequest: it is not `{"instances": [...]}` with at least one instance.
        RequestTooLarge: more instances than a request may have.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise MalformedRequest(f"The body is not JSON: {err}.") from err
    if not isinstance(document, dict) or "instances" not in document:
        raise MalformedRequest('The body has no "instances".', hint=_EXAMPLE)
    if extra := sorted(document.keys() - {"instances"}):
        raise MalformedRequest(f"The body has unknown fields: {', '.join(extra)}.", hint=_EXAMPLE)
    return checked_instances(document["instances"], settings)


def checked_instances(instances: Any, settings: Settings) -> list[Any]:
    """Check that instances are a list of an acceptable length; see `parse_instances`."""
    if not isinstance(instances, list) or not instances:
        raise MalformedRequest('"instances" must be a list of at least one object.', hint=_EXAMPLE)
    if len(instances) > settings.max_rows:
        raise RequestTooLarge(
            what="rows", got=len(instances), most=settings.max_rows, setting="TRIVET_MAX_ROWS"
        )
    return instances


_EXAMPLE = 'Send {"instances": [{...}]}; GET /contract lists the fields.'


class Asker:
    """Checks instances against one contract; made once a version."""

    def __init__(self, contract: Contract) -> None:
        """Sort the contract's fields by what a caller may or must do with them."""
        self._keys: Mapping[str, DType] = {key.name: key.dtype for key in contract.join_keys}
        self._request = {column.name: column for column in contract.request_columns}
        self._features = {
            column.name: column
            for column in (*contract.columns, *contract.inputs)
            if column.name not in self._request
        }
        self._known = self._keys.keys() | self._request.keys() | self._features.keys()

    def check(self, instances: list[Any]) -> Asked:
        """Turn instances into columns.

        Raises:
            InvalidInstances: with the row and field of every fault (the first hundred).
        """
        asked = Asked(
            rows=len(instances),
            keys={name: [] for name in self._keys},
            request={name: [] for name in self._request},
        )
        faults: list[Fault] = []
        for row, instance in enumerate(instances):
            if not isinstance(instance, dict):
                faults.append(Fault(row=row, detail="an object of fields is expected"))
            else:
                self._check_row(row, instance, asked, faults)
            if len(faults) >= _MOST_FAULTS:
                break
        if faults:
            # A join key that is a column too is read as both, and would be said to be wrong twice.
            raise InvalidInstances(list(dict.fromkeys(faults))[:_MOST_FAULTS])
        return asked

    def _check_row(
        self, row: int, instance: dict[str, Any], asked: Asked, faults: list[Fault]
    ) -> None:
        faults.extend(
            Fault(row=row, field=name, detail=f"{name} is not a field of the contract")
            for name in sorted(instance.keys() - self._known)
        )
        for name, dtype in self._keys.items():
            asked.keys[name].append(_required(row, name, dtype, instance, faults))
        for name, column in self._request.items():
            asked.request[name].append(_requested(row, column, instance, faults))
        for name in instance.keys() & self._features.keys() - self._keys.keys():
            value = _requested(row, self._features[name], instance, faults)
            asked.overrides.setdefault(name, {})[row] = value


def _required(
    row: int, name: str, dtype: DType, instance: dict[str, Any], faults: list[Fault]
) -> Any:
    if instance.get(name) is None:
        faults.append(Fault(row=row, field=name, detail=f"{name} is required"))
        return None
    return _read(row, name, dtype, instance[name], faults)


def _requested(row: int, column: Column, instance: dict[str, Any], faults: list[Fault]) -> Any:
    if instance.get(column.name) is not None:
        return _read(row, column.name, column.dtype, instance[column.name], faults)
    if isinstance(column.absent, Default):
        return from_json(column.dtype, column.absent.default)
    if column.absent == "reject":
        faults.append(Fault(row=row, field=column.name, detail=f"{column.name} is required"))
    return None


def _read(row: int, name: str, dtype: DType, value: Any, faults: list[Fault]) -> Any:
    try:
        return from_json(dtype, value)
    except ValueError as err:
        faults.append(Fault(row=row, field=name, detail=f"{name}: {err}, not {_shown(value)}"))
        return None


def _shown(value: Any) -> str:
    """Return the start of a value; what nests may do so deeper than it can be written."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value, ensure_ascii=False)[:60]
