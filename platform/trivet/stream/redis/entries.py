"""Entries of a Redis stream as messages, and messages as FastStream's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from faststream.redis.message import RedisBatchStreamMessage
from faststream.redis.parser import BinaryMessageFormatV1, MessageFormat

from trivet.stream.messages import DATA_FIELD
from trivet.stream.taken import Batch, Taken

if TYPE_CHECKING:
    from faststream.redis.message import BatchStreamMessage

_FIELD = DATA_FIELD.encode()

Fields = dict[bytes, bytes]


class PlainJson(MessageFormat):
    """Messages without an envelope, so that any client can write and read them.

    FastStream's own envelope is read too: whoever publishes by FastStream's default sends it.
    """

    @classmethod
    async def encode(cls, *, message: Any, **others: Any) -> bytes:
        """Return the bytes of a message."""
        built = await cls.build(message=message, **others)
        return bytes(built.data)

    @classmethod
    def parse(cls, data: bytes) -> tuple[bytes, dict[str, Any]]:
        """Return a message's bytes, and no headers."""
        if data.startswith(BinaryMessageFormatV1.IDENTITY_HEADER):
            return BinaryMessageFormatV1.parse(data)
        return data, {}


async def parse(message: BatchStreamMessage) -> RedisBatchStreamMessage:
    """Wrap entries that were read together; their bytes stay as they are.

    FastStream's own parser takes them for JSON, all of them together: one that is none would keep the
    others from being read.
    """
    wrapped = RedisBatchStreamMessage(raw_message=message, body=b"", consumer=_NOBODY, group=None)
    # FastStream makes one up; entries without an envelope have none.
    wrapped.correlation_id = ""
    return wrapped


async def decode(message: RedisBatchStreamMessage) -> Batch:
    """Return the batch that a handler takes."""
    raw = message.raw_message
    # FastStream's test broker gives its messages no ids.
    places = raw["message_ids"] or [b""] * len(raw["data"])
    return Batch(messages=[taken(*entry) for entry in zip(places, raw["data"], strict=True)])


def taken(place: bytes, fields: Fields, deliveries: int = 1) -> Taken:
    """Return an entry as a message; one without the field is an empty one, which is no JSON."""
    body, _ = PlainJson.parse(fields.get(_FIELD, b""))
    return Taken(body=body, at=time_of(place), place=place, deliveries=deliveries)


def time_of(place: bytes) -> datetime:
    """Return when Redis took an entry in, which its id says in milliseconds.

    >>> time_of(b"1767225600000-0").isoformat()
    '2026-01-01T00:00:00+00:00'
    """
    milliseconds = place.partition(b"-")[0]
    return datetime.fromtimestamp(int(milliseconds) / 1000 if milliseconds else 0, UTC)


def after(place: bytes) -> bytes:
    """Return the id that follows another one.

    >>> after(b"1767225600000-7")
    b'1767225600000-8'
    """
    milliseconds, _, number = place.partition(b"-")
    return b"%s-%d" % (milliseconds, int(number or 0) + 1)


class _Nobody:
    """Acknowledges nothing: the outlet does."""

    async def xack(self, name: str, groupname: str, *ids: bytes) -> None:
        """Do nothing."""

    async def xdel(self, name: str, *ids: bytes) -> None:
        """Do nothing."""

    async def xpending_range(
        self,
        name: str,
        groupname: str,
        min: bytes,  # noqa: A002 - as FastStream calls it
        max: bytes,  # noqa: A002
        count: int,
    ) -> list[dict[str, Any]]:
        """Return nothing."""
        del name, groupname, min, max, count
        return []


_NOBODY = _Nobody()


def places_of(messages: Sequence[Taken]) -> set[bytes]:
    """Return where messages stand."""
    return {one.place for one in messages}
