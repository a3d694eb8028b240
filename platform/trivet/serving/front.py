"""Trivet's routes, in front of BentoML's own app.

BentoML's app stays what it is and gets everything that is not listed here: its page, its health
checks, its metrics, its API methods. The routes below answer before its middlewares, which cost more
than a prediction does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from trivet.errors import TrivetError
from trivet.serving.dataplane import CHAMPION, Choice
from trivet.serving.documents import to_bytes
from trivet.serving.oip_routes import InferenceProtocol
from trivet.serving.problems import MEDIA_TYPE, problem
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

_JSON = (b"content-type", b"application/json")

Meant = Callable[[Scope], tuple[Choice, str]]
"""Says which version a request means, and how the log names that."""


class Front:
    """An ASGI app: Trivet's routes, then BentoML's."""

    def __init__(
        self, app: ASGIApp, instance: Callable[[], Served], openapi: Callable[[], dict[str, Any]]
    ) -> None:
        """`instance`: the service's own, which exists once BentoML has started the worker."""
        self._app = app
        self._instance = instance
        self._openapi = openapi
        self._champion = self._predicting(lambda _: (Slot.champion, CHAMPION))
        version, alias = self._predicting(_by_version), self._predicting(_by_alias)
        v2 = InferenceProtocol(instance)
        self._router = Router(
            [
                Route("/predict", self._champion, methods=["POST"]),
                Route("/versions/{version}/predict", version, methods=["POST"]),
                Route("/aliases/{alias}/predict", alias, methods=["POST"]),
                Route("/contract", guarded(self._contract, _problem), methods=["GET"]),
                Route("/status", guarded(self._status, _problem), methods=["GET"]),
                Route("/docs.json", guarded(self._docs, _problem), methods=["GET"]),
                Route("/v2", v2.server, methods=["GET"]),
                Route("/v2/", v2.server, methods=["GET"]),
                Route("/v2/health/live", v2.live, methods=["GET"]),
                Route("/v2/health/ready", v2.ready, methods=["GET"]),
                Route("/v2/models/{name}", v2.model, methods=["GET"]),
                Route("/v2/models/{name}/ready", v2.model_ready, methods=["GET"]),
                Route("/v2/models/{name}/infer", v2.infer, methods=["POST"]),
                Route("/v2/models/{name}/versions/{version}", v2.model, methods=["GET"]),
                Route(
                    "/v2/models/{name}/versions/{version}/ready", v2.model_ready, methods=["GET"]
                ),
                Route("/v2/models/{name}/versions/{version}/infer", v2.infer, methods=["POST"]),
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

    def _predicting(self, meant: Meant) -> Predicting:
        async def predict(
            scope: Scope, receive: Receive, request_id: str
        ) -> tuple[bytes, tuple[Header, ...]]:
            served = self._instance()
            body = await body_of(receive, served)
            choose, route = meant(scope)
            answer = await served.dataplane.predict_bytes(body, choose, request_id, route)
            return to_bytes(answer), (_JSON, *prediction_headers(answer))

        return Predicting(predict, _problem)

    async def _contract(self, request: Request, request_id: str) -> Response:
        del request
        contract = self._instance().slot.champion().contract
        return answered(contract.to_json().encode(), request_id)

    async def _status(self, request: Request, request_id: str) -> Response:
        del request
        return answered(orjson.dumps(self._instance().slot.describe()), request_id)

    async def _docs(self, request: Request, request_id: str) -> Response:
        del request
        return answered(orjson.dumps(self._openapi()), request_id)


def _by_version(scope: Scope) -> tuple[Choice, str]:
    wanted = scope["path_params"]["version"]
    return lambda slot: slot.version(wanted), f"version/{wanted}"


def _by_alias(scope: Scope) -> tuple[Choice, str]:
    name = scope["path_params"]["alias"]
    return lambda slot: slot.alias(name), f"alias/{name}"


def _problem(err: TrivetError, request_id: str) -> Response:
    document = orjson.dumps(problem(err, request_id))
    return answered(document, request_id, err.status, MEDIA_TYPE)
