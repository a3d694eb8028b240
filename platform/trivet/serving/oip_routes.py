"""The routes of the Open Inference Protocol v2, on the same data plane as the others."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from trivet.errors import MalformedRequest, TrivetError, UnknownModel
from trivet.serving.dataplane import CHAMPION
from trivet.serving.loaded import Version
from trivet.serving.oip import InferRequest, parse_request, write_response
from trivet.serving.oip_models import Output, model_metadata, outputs_of
from trivet.serving.routes import (
    Header,
    Predicting,
    Served,
    answered,
    body_of,
    guarded,
    prediction_headers,
)
from trivet.serving.slot import Slot

_LENGTH = b"inference-header-content-length"
_JSON = (b"content-type", b"application/json")
_BYTES = (b"content-type", b"application/octet-stream")


class InferenceProtocol:
    """The endpoints: each attribute is one, for the table of routes."""

    def __init__(self, instance: Callable[[], Served]) -> None:
        """`instance`: the service's own, as in `trivet.serving.front.Front`."""
        self._instance = instance
        self._outputs: WeakKeyDictionary[Version, dict[str, Output]] = WeakKeyDictionary()
        self.server = guarded(self._server, _error)
        self.live = guarded(self._live, _error)
        self.ready = guarded(self._ready, _error)
        self.model = guarded(self._model, _error)
        self.model_ready = guarded(self._model_ready, _error)
        self.infer = Predicting(self._infer, _error)

    async def _server(self, request: Request, request_id: str) -> Response:
        del request
        document = {
            "name": "trivet",
            "version": importlib.metadata.version("trivet"),
            "extensions": ["binary_tensor_data"],
        }
        return answered(orjson.dumps(document), request_id)

    async def _live(self, request: Request, request_id: str) -> Response:
        del request
        return answered(b'{"live":true}', request_id)

    async def _ready(self, request: Request, request_id: str) -> Response:
        del request
        return _readiness(await self._instance().is_ready(), {}, request_id)

    async def _model(self, request: Request, request_id: str) -> Response:
        slot = self._instance().slot
        version = _meant(slot, request.path_params)
        document = model_metadata(version.contract, sorted(slot.loaded.by_number))
        return answered(orjson.dumps(document), request_id)

    async def _model_ready(self, request: Request, request_id: str) -> Response:
        served = self._instance()
        version = _meant(served.slot, request.path_params)
        name = {"name": version.contract.model}
        return _readiness(await served.is_ready(), name, request_id)

    async def _infer(
        self, scope: Scope, receive: Receive, request_id: str
    ) -> tuple[bytes, tuple[Header, ...]]:
        served = self._instance()
        body = await body_of(receive, served)
        named: Mapping[str, str] = scope["path_params"]
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise MalformedRequest("The body is compressed.", hint="Send it as it is.")
        asked: list[InferRequest] = []

        def read(version: Version) -> tuple[list[Any], str]:
            if version not in self._outputs:
                self._outputs[version] = outputs_of(version.contract)
            outputs, most = self._outputs[version], served.settings.max_rows
            request = parse_request(body, headers.get(_LENGTH), outputs, most)
            asked.append(request)
            return request.instances, request_id

        route = f"version/{named['version']}" if "version" in named else CHAMPION
        answer = await served.dataplane.answer(read, lambda slot: _meant(slot, named), route)
        content, length = write_response(asked[0], answer.document)
        if length is None:
            return content, (_JSON, *prediction_headers(answer))
        split = (_LENGTH, b"%d" % length)
        return content, (_BYTES, split, *prediction_headers(answer))


def _meant(slot: Slot, named: Mapping[str, str]) -> Version:
    """Return the version that a path means: the one that it names, or the champion.

    Raises:
        UnknownModel: another model is named.
        VersionNotLoaded: it is not here.
        NoChampion: nothing has been released.
    """
    if named["name"] != slot.model:
        raise UnknownModel(f"This service serves {slot.model}, not {named['name'][:60]}.")
    return slot.version(named["version"]) if "version" in named else slot.champion()


def _readiness(ready: bool, document: dict[str, Any], request_id: str) -> Response:
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return answered(orjson.dumps(document | {"ready": ready}), request_id, status)


def _error(err: TrivetError, request_id: str) -> Response:
    return answered(orjson.dumps({"error": str(err)}), request_id, err.status)
