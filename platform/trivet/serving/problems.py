"""Errors as `application/problem+json` (RFC 9457): the only place that maps them to HTTP."""

from __future__ import annotations

from typing import Any

from trivet.errors import Fault, InvalidInstances, TrivetError

MEDIA_TYPE = "application/problem+json"


def problem(err: TrivetError, request_id: str) -> dict[str, Any]:
    """Describe an error: what, where (row and field), and what to do."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": err.title,
        "status": err.status,
        "detail": err.sentence,
        "request_id": request_id,
    }
    if err.hint is not None:
        document["hint"] = err.hint
    if isinstance(err, InvalidInstances):
        document["errors"] = [_fault(fault) for fault in err.faults]
    return document


def _fault(fault: Fault) -> dict[str, Any]:
    parts = {"row": fault.row, "field": fault.field, "detail": fault.detail}
    return {name: part for name, part in parts.items() if part is not None}
