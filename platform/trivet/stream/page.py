"""`/health` and `/metrics` of a stream process, from a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trivet.errors import BadSetting

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from trivet.stream.running import Health

_END_SECONDS = 5.0


@contextmanager
def page(host: str, port: int, health: Health) -> Iterator[None]:
    """Answer as long as the block lasts.

    Raises:
        BadSetting: the port is taken.
    """
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def state(_: Request) -> Response:
        return _state(health)

    async def numbers(_: Request) -> Response:
        return _numbers()

    app = Starlette(routes=[Route("/health", state), Route("/metrics", numbers)])
    try:
        listener = socket.create_server((host, port))
    except OSError as err:
        raise BadSetting(f"{host}:{port} cannot be listened on: {err.strerror}.") from err
    config = uvicorn.Config(app, loop="asyncio", log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, args=([listener],), name="trivet-stream-page", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        # A thread that still runs when Python ends may take the process down with it.
        server.should_exit = True
        thread.join(_END_SECONDS)


def _state(health: Health) -> Response:
    from starlette.responses import JSONResponse

    if health.ok:
        return JSONResponse({"ok": True})
    return JSONResponse({"ok": False, "why": health.why}, status_code=503)


def _numbers() -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
    from starlette.responses import Response

    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
