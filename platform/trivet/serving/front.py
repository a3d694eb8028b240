"""Trivet's routes, in front of BentoML's own app.

BentoML's app stays what it is and gets everything that is not listed here: its page, its health
checks, its metrics, its API methods. The routes below answer before its middlewares, which cost more
than a prediction does.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from trivet.errors import TrivetError
from trivet.serving.asgi import Disconnected, read_body, request_id, send_bytes
from trivet.serving.dataplane import CHAMPION, Answer, Choice, DataPlane, to_bytes
from trivet.serving.problems import MEDIA_TYPE, problem
from trivet.serving.slot import Slot
from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

REPLICA = f"{socket.gethostname()}-{os.getpid()}"

_JSON = (b"content-type", b"application/json")
_REPLICA = (b"x-trivet-replica", REPLICA.encode("latin-1", "replace"))

Meant = Callable[[Scope], tuple[Choice, str]]
"""Says which version a request means, and how the log names that."""


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
        self._champion = _Predict(instance, lambda _: (Slot.champion, CHAMPION))
        version, alias = _Predict(instance, _by_version), _Predict(instance, _by_alias)
        self._router = Router(
            [
                Route("/predict", self._champion, methods=["POST"]),
                Route("/versions/{version}/predict", version, methods=["POST"]),
                Route("/aliases/{alias}/predict", alias, methods=["POST"]),
                Route("/contract", _guarded(self._contract), methods=["GET"]),
                Route("/status", _guarded(self._status), methods=["GET"]),
                Route("/docs.json", _guarded(self._docs), methods=["GET"]),
            ],
            default=app,
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route HTTP; hand lifespan and the rest to BentoML."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/predict" and scope["method"] == "POST":
            # Past the router, whose regular expressions cost as much as the answer's JSON.
            await self._champion(scope, receive, send)
        else:
            await self._router(scope, receive, send)

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


class _Predict:
    """A route that predicts: an ASGI app."""

    def __init__(self, instance: Callable[[], Served], meant: Meant) -> None:
        self._instance = instance
        self._meant = meant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = request_id(scope)
        try:
            served = self._instance()
            body = await read_body(receive, served.settings.max_body_bytes)
            choose, route = self._meant(scope)
            answer = await served.dataplane.predict_bytes(body, choose, own, route)
        except Disconnected:
            return
        except Exception as err:  # noqa: BLE001 - every error of a request is its answer
            await _failed(err, own, scope["path"])(scope, receive, send)
            return
        headers = (
            _JSON,
            _REPLICA,
            (b"x-request-id", own.encode("latin-1")),
            (b"server-timing", _server_timing(answer)),
        )
        await send_bytes(send, to_bytes(answer), headers)


def _by_version(scope: Scope) -> tuple[Choice, str]:
    wanted = scope["path_params"]["version"]
    return lambda slot: slot.version(wanted), f"version/{wanted}"


def _by_alias(scope: Scope) -> tuple[Choice, str]:
    name = scope["path_params"]["alias"]
    return lambda slot: slot.alias(name), f"alias/{name}"


def _guarded(
    route: Callable[[Request, str], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Answer every error of a route by a problem, and none by a traceback."""

    async def guarded(request: Request) -> Response:
        own = request_id(request.scope)
        try:
            return await route(request, own)
        except Exception as err:  # noqa: BLE001 - every error of a request is its answer
            return _failed(err, own, request.url.path)

    return guarded


def _failed(err: Exception, request_id: str, path: str) -> Response:
    """Return an error as a problem; what nobody has foreseen is in the log alone."""
    if not isinstance(err, TrivetError):
        log.error("%s %s", request_id, path, exc_info=err)
        return _problem(
            TrivetError("The service failed on this request; its log has the cause."), request_id
        )
    if err.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s %s: %s", request_id, path, err)
    return _problem(err, request_id)


def _server_timing(answer: Answer) -> bytes:
    timings = [f"{step};dur={1000 * took:.3f}" for step, took in answer.seconds.items()]
    return ", ".join(timings).encode()


def _json(content: bytes, request_id: str) -> Response:
    names = {"X-Request-Id": request_id, "X-Trivet-Replica": REPLICA}
    return Response(content, media_type="application/json", headers=names)


def _problem(err: TrivetError, request_id: str) -> Response:
    headers = {"X-Request-Id": request_id, "X-Trivet-Replica": REPLICA}
    if err.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Response(
        orjson.dumps(problem(err, request_id)), err.status, headers=headers, media_type=MEDIA_TYPE
    )
