"""The prediction log on disk: its folder and its columns.

    <home>/log/<model>/<segment>.parquet        finished segments, complete or not there
    <home>/log/<model>/.open/<segment>.arrow    segments that a worker is still writing

A segment holds rows of one contract. Its columns are those of Feast's own feature logging for the
contract's feature service (`feast.feature_logging.FeatureServiceLoggingSource`), so that Feast reads
the segments as that service's logged features; request columns under their own names, as Feast has
them for on-demand views; and Trivet's own, which begin with `trivet__`.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path

import pyarrow as pa

from trivet.contract import Classification, Column, Contract, DType

LOG_TIMESTAMP = "__log_timestamp"
LOG_DATE = "__log_date"
REQUEST_ID = "__request_id"

ROW = "trivet__row"
MODEL = "trivet__model"
VERSION = "trivet__version"
CONTRACT = "trivet__contract"
ROUTE = "trivet__route"
ABSENT = "trivet__absent"
DEFAULTS = "trivet__defaults"
OVERRIDES = "trivet__overrides"
OUTPUT = "trivet__output"
TOTAL = "trivet__seconds__total"

STEPS = ("validate", "features", "preprocess", "predict", "postprocess")

MOMENT = pa.timestamp("us", tz="UTC")
FEAST_MOMENT = pa.timestamp("s", tz="UTC")
"""Feast logs event times to the second; Trivet's own column of each view has the microseconds."""


class Status(IntEnum):
    """What the feature store had; the numbers of Feast's `FieldStatus`."""

    PRESENT = 1
    NULL_VALUE = 2
    NOT_FOUND = 3
    OUTSIDE_MAX_AGE = 4


STATUS_OF = {
    "null": Status.NULL_VALUE,
    "missing": Status.NOT_FOUND,
    "expired": Status.OUTSIDE_MAX_AGE,
}
"""Feast's status for each reason why Trivet counts a value as absent."""

_FEAST_TYPES: dict[DType, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("s"),
}
_TYPES: dict[DType, pa.DataType] = {**_FEAST_TYPES, "timestamp": MOMENT}

_COLUMNS_KEY = b"trivet.columns"


def log_folder(home: Path, model: str) -> Path:
    """Return the folder with the segments of one model; `home`: the setting, absolute."""
    return home / "log" / model


def open_folder(folder: Path) -> Path:
    """Return where a model's unfinished segments lie: hidden from whoever reads `folder` whole."""
    return folder / ".open"


def log_schema(contract: Contract) -> pa.Schema:
    """Return the columns of a contract's segments.

    Feast's come first and in its order. A feature that the feature service offers and the contract
    does not use is not among them.
    """
    fields = _feast_fields(contract)
    for column in contract.request_columns:
        # A join key may be a column of the request too; it is the same field of the instance.
        fields.setdefault(column.name, _TYPES[column.dtype])
    fields |= _own_fields(contract)
    columns = (*contract.columns, *contract.inputs)
    names = {column.name: value_name(contract, column) for column in columns}
    return pa.schema(list(fields.items()), metadata={_COLUMNS_KEY: json.dumps(names)})


def value_name(contract: Contract, column: Column) -> str:
    """Return the log's column that holds a contract's column: what was read, sent or computed."""
    if column.on_demand:
        owner = next(v.name for v in contract.on_demand if column.feature in v.outputs)
        return f"{owner}__{column.feature}"
    return column.name if column.view is None else f"{column.view}__{column.feature}"


def status_name(contract: Contract, column: Column) -> str:
    """Return the log's column with a feature's `Status`."""
    return f"{value_name(contract, column)}__status"


def timestamp_name(contract: Contract, column: Column) -> str:
    """Return the log's column with a feature's event time as Feast has it, to the second.

    What an on-demand view computes has none.
    """
    return f"{value_name(contract, column)}__timestamp"


def event_time_name(view: str) -> str:
    """Return the log's column with a view's event time, to the microsecond."""
    return f"trivet__event_time__{view}"


def read_time_name(view: str) -> str:
    """Return the log's column with the moment at which a view's row was read from the online store.

    It lies before the request where a cache gave the row. A log without it, or a null in it, means
    that the row was read for the request.
    """
    return f"trivet__read_time__{view}"


def seconds_name(step: str) -> str:
    """Return the log's column with the seconds that a step took, for the whole request."""
    return f"trivet__seconds__{step}"


def logged_columns(schema: pa.Schema) -> dict[str, str]:
    """Return a segment's column for each column of its contract, by the contract's name."""
    stored = (schema.metadata or {}).get(_COLUMNS_KEY)
    names: dict[str, str] = {} if stored is None else json.loads(stored)
    return names


def _feast_fields(contract: Contract) -> dict[str, pa.DataType]:
    dtypes = {key.name: key.dtype for key in contract.join_keys}
    fields: dict[str, pa.DataType] = {}
    for view in contract.views:
        fields |= {name: _FEAST_TYPES[dtypes[name]] for name in view.join_keys}
        for column in contract.columns_of(view.name):
            fields |= _feature_fields(contract, column)
    for column in contract.computed:
        fields |= _feature_fields(contract, column)
    for name, dtype in dtypes.items():
        fields.setdefault(name, _FEAST_TYPES[dtype])
    return fields | {LOG_TIMESTAMP: MOMENT, LOG_DATE: pa.date32(), REQUEST_ID: pa.string()}


def _feature_fields(contract: Contract, column: Column) -> dict[str, pa.DataType]:
    return {
        value_name(contract, column): _FEAST_TYPES[column.dtype],
        timestamp_name(contract, column): FEAST_MOMENT,
        status_name(contract, column): pa.int32(),
    }


def _own_fields(contract: Contract) -> dict[str, pa.DataType]:
    return {
        ROW: pa.int32(),
        MODEL: pa.string(),
        VERSION: pa.int64(),
        CONTRACT: pa.string(),
        ROUTE: pa.string(),
        **{event_time_name(view.name): MOMENT for view in contract.views},
        **{read_time_name(view.name): MOMENT for view in contract.views},
        ABSENT: pa.string(),
        DEFAULTS: pa.string(),
        OVERRIDES: pa.string(),
        OUTPUT: pa.string(),
        **{f"trivet__{name}": kind for name, kind in output_fields(contract).items()},
        **{seconds_name(step): pa.float64() for step in STEPS},
        TOTAL: pa.float64(),
    }


def output_fields(contract: Contract) -> dict[str, pa.DataType]:
    """Return the fields of a prediction that stand as columns too, beside the whole as JSON."""
    if isinstance(contract.output, Classification):
        return {"class_id": pa.int64(), "confidence": pa.float64()}
    return {"value": pa.float64()}
