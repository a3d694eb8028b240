"""Bodies in and answers out, straight on ASGI: request objects cost more than a small prediction."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import Receive, Scope, Send

from trivet.errors import RequestTooLarge

REQUEST_ID = b"x-request-id"

_own = os.urandom(8).hex()
_numbers = itertools.count(int.from_bytes(os.urandom(7)))
_MOST_ID = 200
"""Characters that are taken of a caller's id: it is in the answer, and in every row of the log."""


class Disconnected(Exception):
    """The caller is gone before its body was here: there is nobody to answer."""


def request_id(scope: Scope) -> str:
    """Return the caller's id of a request, or a new one of 32 hexadecimal digits."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and value:
            return str(value[:_MOST_ID], "latin-1")
    return new_request_id()


def new_request_id() -> str:
    """Return 32 hexadecimal digits that no other request has; a tenth of the cost of a UUID."""
    return f"{_own}{next(_numbers) & 0xFFFFFFFFFFFFFFFF:016x}"


async def read_body(receive: Receive, most: int) -> bytes:
    """Read a body, and stop at the first byte too many: BentoML has no limit of its own.

    Raises:
        RequestTooLarge: it has more bytes than `most`.
        Disconnected: it does not come.
    """
    message = await receive()
    body: bytes = _part(message)
    if not message.get("more_body", False) and len(body) <= most:
        return body
    parts, size = [body], len(body)
    while size <= most and message.get("more_body", False):
        message = await receive()
        parts.append(_part(message))
        size += len(parts[-1])
    if size > most:
        raise RequestTooLarge(what="bytes", got=size, most=most, setting="TRIVET_MAX_BODY_BYTES")
    return b"".join(parts)


async def send_bytes(
    send: Send, body: bytes, headers: Iterable[tuple[bytes, bytes]], status: int = 200
) -> None:
    """Send a whole answer; names of headers are in lower case."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _part(message: MutableMapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    return body
