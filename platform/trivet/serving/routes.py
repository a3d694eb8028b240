"""What all routes have in common: the worker's parts, who answers, and errors as answers."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trivet.errors import TrivetError
from trivet.serving.asgi import Disconnected, read_body, request_id, send_bytes
from trivet.serving.dataplane import DataPlane
from trivet.serving.documents import Answer
from trivet.serving.slot import Slot
from trivet.settings import Settings

log = logging.getLogger("trivet.serving")

REPLICA = f"{os.environ.get('TRIVET_REPLICA') or socket.gethostname()}-{os.getpid()}"
"""Who answers: the replica, by the name that its supervisor gave it, and the worker's process."""

_SAY_AGAIN_SECONDS = 10.0

_REPLICA = (b"x-trivet-replica", REPLICA.encode("latin-1", "replace"))

Header = tuple[bytes, bytes]
Failed = Callable[[TrivetError, str], Response]
"""Makes the answer to an error, in the form that a family of routes has; gets the request's id."""


class Served(Protocol):
    """What the routes need of a service's instance."""

    dataplane: DataPlane
    slot: Slot
    settings: Settings

    async def is_ready(self) -> bool:
        """Say whether a request could be answered now."""
        ...


class Predicting:
    """A route that predicts: an ASGI app, without the request objects of the other routes."""

    def __init__(
        self,
        answer: Callable[[Scope, Receive, str], Awaitable[tuple[bytes, tuple[Header, ...]]]],
        failed: Failed,
    ) -> None:
        """`answer` takes a request with the id that it is known by, and gives body and headers."""
        self._answer = answer
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, by an error's form where it fails."""
        own = request_id(scope)
        try:
            body, headers = await self._answer(scope, receive, own)
        except Disconnected:
            return
        except Exception as err:  # noqa: BLE001 - every error of a request is its answer
            await self._failed(_foreseen(err, own, scope["path"]), own)(scope, receive, send)
            return
        await send_bytes(send, body, headers)


async def body_of(receive: Receive, served: Served) -> bytes:
    """Read a body of as many bytes as the setting allows; one with more is counted as refused.

    Raises:
        RequestTooLarge: it has more.
        Disconnected: it does not come.
    """
    try:
        return await read_body(receive, served.settings.max_body_bytes)
    except TrivetError as err:
        served.dataplane.refused(err)
        raise


def guarded(
    route: Callable[[Request, str], Awaitable[Response]], failed: Failed
) -> Callable[[Request], Awaitable[Response]]:
    """Answer every error of a route in its family's form, and none by a traceback."""

    async def guarded(request: Request) -> Response:
        own = request_id(request.scope)
        try:
            return await route(request, own)
        except Exception as err:  # noqa: BLE001 - every error of a request is its answer
            return failed(_foreseen(err, own, request.url.path), own)

    return guarded


def prediction_headers(answer: Answer) -> tuple[Header, ...]:
    """Return the headers of a prediction: who answered, under which id, and how long it took."""
    own: str = answer.document["request_id"]
    headers = (
        _REPLICA,
        (b"x-request-id", own.encode("latin-1")),
        (b"server-timing", _server_timing(answer)),
    )
    if answer.in_place_of is None:
        return headers
    return (*headers, (b"x-trivet-in-place-of", answer.in_place_of.encode("latin-1")))


def answered(
    content: bytes, request_id: str, status: int = 200, media_type: str = "application/json"
) -> Response:
    """Return an answer that is no prediction; one that says 503 also says when to come again."""
    headers = {"X-Request-Id": request_id, "X-Trivet-Replica": REPLICA}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Response(content, status, headers=headers, media_type=media_type)


def _foreseen(err: Exception, request_id: str, path: str) -> TrivetError:
    """Return what a caller is told of an error; what nobody has foreseen is in the log alone."""
    if not isinstance(err, TrivetError):
        log.error("%s %s", request_id, path, exc_info=err)
        return TrivetError("The service failed on this request; its log has the cause.")
    if err.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _failures.say(err, request_id, path)
    return err


class Failures:
    """Logs what fails on the service's side: the first of its kind at once, then a count now and then.

    While a store is down every request fails, by the hundreds a second, and for the same reason.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: in seconds."""
        self._clock = clock
        self._said: dict[type[TrivetError], tuple[float, int]] = {}

    def say(self, err: TrivetError, request_id: str, path: str) -> None:
        """Log an error, unless one of its kind was logged a moment ago: then count it."""
        now = self._clock()
        since, unsaid = self._said.get(type(err), (-_SAY_AGAIN_SECONDS, 0))
        if now - since < _SAY_AGAIN_SECONDS:
            self._said[type(err)] = since, unsaid + 1
            return
        more = f" ({unsaid} more of this kind since the last such line)" if unsaid else ""
        log.warning("%s %s: %s%s", request_id, path, err, more)
        self._said[type(err)] = now, 0


_failures = Failures()


def _server_timing(answer: Answer) -> bytes:
    timings = [f"{step};dur={1000 * took:.3f}" for step, took in answer.seconds.items()]
    return ", ".join(timings).encode()
