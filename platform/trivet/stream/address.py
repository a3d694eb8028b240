"""Where a broker is, read from one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from trivet.errors import BadSetting

_HINT = (
    "Such as redis://127.0.0.1:6379/0, rediss://user:password@host:6380 or kafka://a:9092,b:9092."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A broker's address."""

    kind: Literal["redis", "kafka"]
    url: str
    """As it was given; for Redis' own client."""

    @property
    def servers(self) -> list[str]:
        """Host and port of each of Kafka's brokers that are asked first."""
        return urlsplit(self.url).netloc.split(",")

    @property
    def shown(self) -> str:
        """The address without a password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def parse_address(url: str) -> Address:
    """Read an address.

    Raises:
        BadSetting: it is none of a broker.
    """
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss", "unix"):
        return Address(kind="redis", url=url)
    if parts.scheme != "kafka":
        raise BadSetting(f"The broker {url!r} is neither of Redis nor of Kafka.", hint=_HINT)
    if not parts.netloc or parts.path.strip("/") or "@" in parts.netloc:
        raise BadSetting(
            "kafka:// takes hosts and ports, and nothing else.",
            hint="TRIVET_KAFKA_USERNAME and its like say how it is reached.",
        )
    return Address(kind="kafka", url=url)
