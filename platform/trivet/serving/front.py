"""Trivet's routes, in front of BentoML's own app.

BentoML's app stays what it is and gets everything that is not listed here: its page, its health
checks, its metrics, its API methods. The routes below answer before its middlewares, which cost more
than a prediction does.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from trivet.errors import RequestTooLarge, TrivetError
from trivet.serving.dataplane import CHAMPION, Answer, Choice, DataPlane, to_bytes
from trivet.serving.problems import MEDIA_TYPE, problem
from trivet.serving.slot import Slot
from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

REPLICA = f"{socket.gethostname()}-{os.getpid()}"


class Served(Protocol):
    """What the routes need of a service's instance."""

    dataplane: DataPlane
    slot: Slot
    settings: Settings


class Front:
    """An ASGI app: Trivet's routes, then BentoML's."""

    def __init__(
        self, app: ASGIApp, instance: Callable[[], Served], openapi: Callable[[], dict[str, Any]]
    ) -> None:
        """`instance`: the service's own, which exists once BentoML has started the worker."""
        self._app = app
        self._instance = instance
        self._openapi = openapi
        self._router = Router(
            [
                Route("/predict", self._guarded(self._champion), methods=["POST"]),
                Route(
                    "/versions/{version}/predict", self._guarded(self._version), methods=["POST"]
                ),
                Route("/aliases/{alias}/predict", self._guarded(self._alias), methods=["POST"]),
                Route("/contract", self._guarded(self._contract), methods=["GET"]),
                Route("/status", self._guarded(self._status), methods=["GET"]),
                Route("/docs.json", self._guarded(self._docs), methods=["GET"]),
            ],
            default=app,
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route HTTP; hand lifespan and the rest to BentoML."""
        app = self._router if scope["type"] == "http" else self._app
        await app(scope, receive, send)

    async def _champion(self, request: Request, request_id: str) -> Response:
        return await self._predict(request, request_id, lambda slot: slot.champion(), CHAMPION)

    async def _version(self, request: Request, request_id: str) -> Response:
        wanted = request.path_params["version"]
        return await self._predict(
            request, request_id, lambda slot: slot.version(wanted), f"version/{wanted}"
        )

    async def _alias(self, request: Request, request_id: str) -> Response:
        name = request.path_params["alias"]
        return await self._predict(
            request, request_id, lambda slot: slot.alias(name), f"alias/{name}"
        )

    async def _predict(
        self, request: Request, request_id: str, choose: Choice, route: str
    ) -> Response:
        served = self._instance()
        body = await _body(request, served.settings.max_body_bytes)
        answer = await served.dataplane.predict_bytes(body, choose, request_id, route)
        return _json(to_bytes(answer), request_id, **{"Server-Timing": _server_timing(answer)})

    async def _contract(self, request: Request, request_id: str) -> Response:
        del request
        contract = self._instance().slot.champion().contract
        return _json(contract.to_json().encode(), request_id)

    async def _status(self, request: Request, request_id: str) -> Response:
        del request
        return _json(orjson.dumps(self._instance().slot.describe()), request_id)

    async def _docs(self, request: Request, request_id: str) -> Response:
        del request
        return _json(orjson.dumps(self._openapi()), request_id)

    def _guarded(
        self, route: Callable[[Request, str], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Answer every error of a route by a problem, and none by a traceback."""

        async def guarded(request: Request) -> Response:
            request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
            try:
                return await route(request, request_id)
            except TrivetError as err:
                if err.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    log.warning("%s %s: %s", request_id, request.url.path, err)
                return _problem(err, request_id)
            except Exception:
                log.exception("%s %s", request_id, request.url.path)
                sentence = "The service failed on this request; its log has the cause."
                return _problem(TrivetError(sentence), request_id)

        return guarded


async def _body(request: Request, most: int) -> bytes:
    """Read a body, and stop at the first byte too many: BentoML has no limit of its own."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise RequestTooLarge(
                what="bytes", got=size, most=most, setting="TRIVET_MAX_BODY_BYTES"
            )
        parts.append(part)
    return b"".join(parts)


def _server_timing(answer: Answer) -> str:
    return ", ".join(f"{step};dur={1000 * took:.3f}" for step, took in answer.seconds.items())


def _json(content: bytes, request_id: str, **headers: str) -> Response:
    names = {"X-Request-Id": request_id, "X-Trivet-Replica": REPLICA, **headers}
    return Response(content, media_type="application/json", headers=names)


def _problem(err: TrivetError, request_id: str) -> Response:
    headers = {"X-Request-Id": request_id, "X-Trivet-Replica": REPLICA}
    if err.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Response(
        orjson.dumps(problem(err, request_id)), err.status, headers=headers, media_type=MEDIA_TYPE
    )
