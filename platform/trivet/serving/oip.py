"""The documents of the Open Inference Protocol v2, to and from instances and predictions.

A request's tensors are the fields of its instances: join keys, request columns, and features that
override what Feast has, n values each. An answer's tensors are the fields of its predictions.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trivet.errors import MalformedRequest, RequestTooLarge
from trivet.serving.oip_models import Output
from trivet.serving.tensors import DATATYPES, from_bytes, from_json, to_bytes

_Size = Annotated[int, Field(ge=0, lt=2**63)]


class _Document(BaseModel):
    """A part of a request; what is optional may be null, and what is unknown is left aside."""

    model_config = ConfigDict(frozen=True, strict=True)


class _InputParameters(_Document):
    binary_data_size: _Size | None = None


class _Input(_Document):
    name: str
    datatype: str
    shape: list[_Size]
    parameters: _InputParameters | None = None
    data: list[Any] | None = None

    @property
    def size(self) -> int | None:
        """How many bytes after the document are its own; None where its data are in it."""
        return None if self.parameters is None else self.parameters.binary_data_size


class _OutputParameters(_Document):
    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class _WantedOutput(_Document):
    name: str
    parameters: _OutputParameters | None = None


class _RequestParameters(_Document):
    binary_data_output: bool | None = None


class _Request(_Document):
    id: str | None = None
    inputs: list[_Input] = Field(min_length=1)
    outputs: list[_WantedOutput] | None = None
    parameters: _RequestParameters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request that was read: its instances, and the outputs that it wants."""

    id: str | None
    instances: list[dict[str, Any]]
    outputs: tuple[tuple[Output, bool], ...]
    """Each with whether it is wanted as bytes."""


def parse_request(
    body: bytes, header_length: bytes | None, outputs: Mapping[str, Output], most_rows: int
) -> InferRequest:
    """Read a request to a version.

    Args:
        body: a JSON document, and then the bytes of those tensors that are not in it.
        header_length: what `Inference-Header-Content-Length` says the JSON document has; None: all.
        outputs: those of the version, by name.
        most_rows: how many are accepted.

    Raises:
        MalformedRequest: it is not what the protocol says; the sentence names the tensor.
        RequestTooLarge: it has more rows.
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    document = _document(body[:length])
    columns = _columns(document.inputs, memoryview(body)[length:], most_rows)
    return InferRequest(
        id=document.id,
        instances=[
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ],
        outputs=tuple(_wanted(document, outputs)),
    )


def write_response(request: InferRequest, answer: dict[str, Any]) -> tuple[bytes, int | None]:
    """Write an answer's document as the request wants it.

    Returns:
        The body, and the length of its JSON document where bytes of tensors follow it.
    """
    model, parts = answer["model"], []
    tensors = []
    for output, binary in request.outputs:
        tensor = output.tensor(answer["predictions"])
        if binary:
            parts.append(to_bytes(tensor["datatype"], tensor.pop("data")))
            size = {"binary_data_size": len(parts[-1])}
            tensor["parameters"] = tensor.get("parameters", {}) | size
        tensors.append(tensor)
    document = {
        "model_name": model["name"],
        "model_version": str(model["version"]),
        **({} if request.id is None else {"id": request.id}),
        "parameters": {
            "request_id": answer["request_id"],
            "missing": orjson.dumps(answer["missing"]).decode(),
        },
        "outputs": tensors,
    }
    head = orjson.dumps(document)
    wants_bytes = any(binary for _, binary in request.outputs)
    return b"".join([head, *parts]), len(head) if wants_bytes else None


def _length(header: bytes, size: int) -> int:
    length = int(header) if header.isdigit() and len(header) < 20 else None  # noqa: PLR2004
    if length is None or not 0 < length <= size:
        shown = str(header[:20], "latin-1")
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {shown!r}; the body has {size} bytes.",
            hint="It is the length of the JSON document before the tensors' bytes.",
        )
    return length


def _document(head: bytes) -> _Request:
    try:
        return _Request.model_validate_json(head)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if not where:
            raise MalformedRequest(f"The body is no inference request: {first['msg']}.") from err
        raise MalformedRequest(f"The request is wrong at {where[:80]}: {first['msg']}.") from err


def _columns(inputs: Sequence[_Input], raw: memoryview, most_rows: int) -> dict[str, list[Any]]:
    """Read each input's values; all have as many."""
    rows = _rows(inputs, most_rows)
    columns: dict[str, list[Any]] = {}
    at = 0
    for tensor in inputs:
        if tensor.name in columns:
            raise _wrong(tensor, "it is there twice")
        size = tensor.size or 0
        try:
            columns[tensor.name] = _values(tensor, rows, raw[at : at + size])
        except ValueError as err:
            raise _wrong(tensor, str(err)) from err
        at += size
    if at < len(raw):
        raise MalformedRequest(
            f"{len(raw) - at} bytes are left when all inputs are read.",
            hint="The binary_data_size of the inputs and Inference-Header-Content-Length must fit.",
        )
    return columns


def _rows(inputs: Sequence[_Input], most_rows: int) -> int:
    """Return how many rows all inputs have, by their shapes."""
    rows = inputs[0].shape[0] if inputs[0].shape else 0
    for tensor in inputs:
        if len(tensor.shape) not in {1, 2} or tensor.shape[1:] not in ([], [1]) or rows < 1:
            raise _wrong(tensor, f"its shape is {str(tensor.shape)[:40]}, not [n] or [n, 1]")
        if tensor.shape[0] != rows:
            raise _wrong(tensor, f"it has {tensor.shape[0]} rows, the first input {rows}")
    if rows > most_rows:
        raise RequestTooLarge(what="rows", got=rows, most=most_rows, setting="TRIVET_MAX_ROWS")
    return rows


def _values(tensor: _Input, rows: int, raw: memoryview) -> list[Any]:
    if tensor.datatype not in DATATYPES:
        raise ValueError(f"the datatype {tensor.datatype[:20]!r} is none of {', '.join(DATATYPES)}")
    if (tensor.data is None) == (tensor.size is None):
        raise ValueError("it needs either data or the parameter binary_data_size")
    if tensor.data is not None:
        return from_json(tensor.datatype, rows, tensor.data)
    if len(raw) != tensor.size:
        raise ValueError(f"binary_data_size is {tensor.size}, and {len(raw)} bytes are left for it")
    return from_bytes(tensor.datatype, rows, raw)


def _wanted(document: _Request, have: Mapping[str, Output]) -> Iterator[tuple[Output, bool]]:
    """Yield what a request wants: all outputs, or those that it names, each as it says."""
    binary = bool(document.parameters and document.parameters.binary_data_output)
    if not document.outputs:
        yield from ((output, binary) for output in have.values())
    for wanted in document.outputs or ():
        asks = wanted.parameters or _OutputParameters()
        if wanted.name not in have:
            raise MalformedRequest(
                f"There is no output {wanted.name[:60]!r}; the outputs are {', '.join(have)}."
            )
        if asks.classification is not None or asks.shared_memory_region is not None:
            raise MalformedRequest(
                f"Output {wanted.name!r}: neither classification nor shared memory is offered."
            )
        yield have[wanted.name], binary if asks.binary_data is None else asks.binary_data


def _wrong(tensor: _Input, why: str) -> MalformedRequest:
    return MalformedRequest(f"Input {tensor.name[:60]!r}: {why}.")
