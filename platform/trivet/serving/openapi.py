"""Describe Trivet's routes, and what the live contract makes of them, in BentoML's OpenAPI page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from trivet.contract import REQUEST, Column, Contract, DType
from trivet.example import example_request

_TYPES: dict[DType, dict[str, Any]] = {
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time"},
}

_PROBLEM = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer"},
                    "field": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

_PROBLEMS = {
    "400": "The body is not what the route takes.",
    "404": "The version or alias is not loaded here.",
    "413": "Too many rows or bytes.",
    "422": "Rows do not fit the contract; `errors` names row and field.",
    "503": "No champion yet, or the feature store does not answer.",
}


def describe_routes(
    document: dict[str, Any], about: str, contract: Contract | None, now: datetime
) -> dict[str, Any]:
    """Add Trivet's routes to BentoML's OpenAPI document.

    Args:
        document: as BentoML made it; not changed.
        about: what the service is for, in the page's head.
        contract: the live one; None before the first release.
        now: dates the example.
    """
    body = _body(contract, now)
    routes = {
        "/predict": ("post", "Predict with the champion", (), body),
        "/versions/{version}/predict": (
            "post",
            "Predict with one loaded version",
            ("version",),
            body,
        ),
        "/aliases/{alias}/predict": (
            "post",
            "Predict with the version of an alias",
            ("alias",),
            body,
        ),
        "/contract": ("get", "The live version's contract", (), None),
        "/status": ("get", "The versions that are loaded here", (), None),
    }
    ours = {path: _operation(path, *parts) for path, parts in routes.items()}
    paths = {**ours, **_without(document.get("paths", {}), ours)}
    return {**document, "info": _info(document, about, contract), "paths": paths}


def _info(document: dict[str, Any], about: str, contract: Contract | None) -> dict[str, Any]:
    live = "No version has been released yet."
    if contract is not None:
        views = ", ".join(view.name for view in contract.views) or "none: all are in the request"
        live = f"Features from Feast: {views}. Runtime: {contract.runtime.kind}."
    return {**document.get("info", {}), "description": f"{about}\n\n{live}"}


def _without(paths: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    return {path: operations for path, operations in paths.items() if path not in ours}


def _operation(
    path: str, method: str, summary: str, parameters: Iterable[str], body: dict[str, Any] | None
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["Service APIs"],
        "summary": summary,
        "operationId": path.strip("/").replace("/", "_").replace("{", "").replace("}", ""),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ],
        "responses": {"200": _content("application/json", {"type": "object"}, "Answered.")},
    }
    if body is not None:
        operation["requestBody"] = body
        operation["responses"] |= {
            status: _content("application/problem+json", _PROBLEM, why)
            for status, why in _PROBLEMS.items()
        }
    return {method: operation}


def _content(media_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _body(contract: Contract | None, now: datetime) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _instances(contract)}
    if contract is not None and contract.golden:
        content["example"] = example_request(contract, now)
    return {"required": True, "content": {"application/json": content}}


def _instances(contract: Contract | None) -> dict[str, Any]:
    instance: dict[str, Any] = {"type": "object"}
    if contract is not None:
        instance |= _instance(contract)
    return {
        "type": "object",
        "required": ["instances"],
        "properties": {"instances": {"type": "array", "minItems": 1, "items": instance}},
        "additionalProperties": False,
    }


def _instance(contract: Contract) -> dict[str, Any]:
    keys = {key.name: _TYPES[key.dtype] | {"description": "join key"} for key in contract.join_keys}
    columns = {c.name: _property(c) for c in (*contract.columns, *contract.inputs)}
    needed = [c.name for c in contract.request_columns if c.absent == "reject"]
    return {
        "properties": {**columns, **keys},
        "required": list(dict.fromkeys([*keys, *needed])),
        "additionalProperties": False,
    }


def _property(column: Column) -> dict[str, Any]:
    if column.source == REQUEST:
        return _TYPES[column.dtype] | {"description": "request column"}
    return _TYPES[column.dtype] | {"description": f"optional override of {column.source}"}
