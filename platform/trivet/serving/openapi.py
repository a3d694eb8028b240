"""Describe Trivet's routes, and what the live contract makes of them, in BentoML's OpenAPI page."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from trivet.contract import REQUEST, Column, Contract, DType
from trivet.example import example_request
from trivet.serving.oip_models import as_tensors

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

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
"""How the Open Inference Protocol says what a problem says."""

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "description": "a join key, request column or feature"},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "[n] or [n, 1]"},
        "datatype": {"type": "string"},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}

_PROBLEMS = {
    "400": "The body is not what the route takes.",
    "404": "The model, version or alias is not loaded here.",
    "413": "Too many rows or bytes.",
    "422": "Rows do not fit the contract; the answer names row and field.",
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
    body, tensors = _body(contract, now), _tensors(contract, now)
    version = "/v2/models/{name}/versions/{version}"
    routes = {
        "/predict": ("Predict with the champion", body),
        "/versions/{version}/predict": ("Predict with one loaded version", body),
        "/aliases/{alias}/predict": ("Predict with the version of an alias", body),
        "/contract": ("The live version's contract", None),
        "/status": ("The versions that are loaded here", None),
        "/v2": ("The server and its extensions", None),
        "/v2/health/live": ("Whether the server answers", None),
        "/v2/health/ready": ("Whether a request could be answered now", None),
        "/v2/models/{name}": ("The champion's tensors", None),
        "/v2/models/{name}/ready": ("Whether the champion could answer now", None),
        "/v2/models/{name}/infer": ("Predict with the champion, by tensors", tensors),
        version: ("A loaded version's tensors", None),
        f"{version}/ready": ("Whether a loaded version could answer now", None),
        f"{version}/infer": ("Predict with one loaded version, by tensors", tensors),
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


def _operation(path: str, summary: str, body: dict[str, Any] | None) -> dict[str, Any]:
    protocol = path.startswith("/v2")
    operation: dict[str, Any] = {
        "tags": ["Open Inference Protocol" if protocol else "Service APIs"],
        "summary": summary,
        "operationId": re.sub(r"\W+", "_", path).strip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ],
        "responses": {"200": _content("application/json", {"type": "object"}, "Answered.")},
    }
    if body is None:
        return {"get": operation}
    form = ("application/json", _ERROR) if protocol else ("application/problem+json", _PROBLEM)
    operation["requestBody"] = body
    operation["responses"] |= {status: _content(*form, why) for status, why in _PROBLEMS.items()}
    return {"post": operation}


def _content(media_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _body(contract: Contract | None, now: datetime) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _instances(contract)}
    if contract is not None and contract.golden:
        content["example"] = example_request(contract, now)
    return {"required": True, "content": {"application/json": content}}


def _tensors(contract: Contract | None, now: datetime) -> dict[str, Any]:
    list_of_tensors = {"type": "array", "minItems": 1, "items": _TENSOR}
    properties = {"id": {"type": "string"}, "inputs": list_of_tensors}
    content: dict[str, Any] = {
        "schema": {"type": "object", "required": ["inputs"], "properties": properties}
    }
    if contract is not None and contract.golden:
        instances = example_request(contract, now)["instances"]
        content["example"] = {"inputs": as_tensors(contract, instances)}
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
