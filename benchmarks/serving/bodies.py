"""Requests of every contender: the same rows, each as that server takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.serving.forest import Rows, names, user

Body = Callable[[Rows, list[int]], dict[str, Any]]
"""Makes a request for the entities with these numbers, whose features are rows of the array."""


def by_value(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """All features in the request, as Trivet takes them."""
    columns = names(rows.shape[1])
    return {"instances": [dict(zip(columns, rows[n].tolist(), strict=True)) for n in numbers]}


def by_key(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """Join keys alone; there are as many items as rows, and there may be more users."""
    return {"instances": [{"user_id": user(n), "item_id": n % len(rows)} for n in numbers]}


def for_feast(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """As `feast serve` takes them."""
    del rows
    entities = {"user_id": [user(n) for n in numbers], "item_id": numbers}
    return {"feature_service": "forest_v1", "entities": entities}


def as_matrix(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """A list of rows, as an API method with an array takes it."""
    return {"x": rows[numbers].tolist()}


def as_row(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """One row."""
    (number,) = numbers
    return {"x": rows[number].tolist()}


def for_mlflow(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """As `mlflow models serve` takes a frame."""
    return {"dataframe_split": {"columns": names(rows.shape[1]), "data": rows[numbers].tolist()}}


def for_protocol(rows: Rows, numbers: list[int]) -> dict[str, Any]:
    """As the Open Inference Protocol has it."""
    shape = [len(numbers), rows.shape[1]]
    data = rows[numbers].ravel().tolist()
    return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP64", "data": data}]}


def write(path: Path, make: Body, rows: Rows, asked: Iterable[list[int]]) -> Path:
    """Write a file of requests, one a line."""
    lines = (json.dumps(make(rows, numbers), separators=(",", ":")) for numbers in asked)
    path.write_text("\n".join(lines) + "\n")
    return path
