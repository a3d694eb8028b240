"""A body is read to its end or to its limit, and every request has an id."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trivet.errors import RequestTooLarge
from trivet.serving.asgi import Disconnected, new_request_id, read_body, request_id


def body(*parts: bytes, most: int = 10, ends: str = "http.request") -> bytes:
    """Read a body that comes in parts; the last message is of the type `ends`."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]
    ]
    messages.append({"type": ends, "body": parts[-1], "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return asyncio.run(read_body(receive, most))


@pytest.mark.parametrize("parts", [(b"",), (b"0123456789",), (b"012", b"", b"3456789")])
def test_a_body_is_read_whole(parts: tuple[bytes, ...]) -> None:
    """In however many parts it comes, up to the limit itself."""
    assert body(*parts) == b"".join(parts)


@pytest.mark.parametrize("parts", [(b"0" * 11,), (b"0" * 6, b"0" * 5), (b"0" * 6, b"0" * 5, b"0")])
def test_reading_stops_at_the_first_byte_too_many(parts: tuple[bytes, ...]) -> None:
    """Whatever is still to come is not waited for."""
    with pytest.raises(RequestTooLarge, match="11 bytes; at most 10"):
        body(*parts)


@pytest.mark.parametrize("parts", [(b"",), (b"01", b"")])
def test_a_caller_who_hangs_up_is_noticed(parts: tuple[bytes, ...]) -> None:
    """A part of a body is not taken for the whole."""
    with pytest.raises(Disconnected):
        body(*parts, ends="http.disconnect")


def test_a_callers_id_is_taken_up_to_a_length() -> None:
    """It is handed back, and stands in every row of the log."""
    named = {"headers": [(b"host", b"here"), (b"x-request-id", b"mine")]}
    assert request_id(named) == "mine"
    assert request_id({"headers": [(b"x-request-id", b"m" * 5000)]}) == "m" * 200


def test_a_request_without_an_id_gets_one_that_no_other_has() -> None:
    """Of 32 hexadecimal digits, as a UUID's."""
    ids = {
        request_id({"headers": [(b"x-request-id", b"")]}),
        *(new_request_id() for _ in range(999)),
    }
    assert len(ids) == 1000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)
