"""A name server as Docker's: it says which addresses a service has at the moment."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_A = 1


@dataclass(slots=True)
class Names:
    """The addresses that every name has; may be changed while it answers."""

    port: int
    addresses: list[str] = field(default_factory=list)


@contextmanager
def name_server(*addresses: str) -> Iterator[Names]:
    """Answer over UDP on loopback, at a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        names = Names(server.getsockname()[1], list(addresses))
        stop = threading.Event()
        thread = threading.Thread(target=_answer_all, args=(server, names, stop))
        thread.start()
        try:
            yield names
        finally:
            stop.set()
            thread.join()


def _answer_all(server: socket.socket, names: Names, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            asked, caller = server.recvfrom(4096)
        except TimeoutError:
            continue
        server.sendto(_answer(asked, names.addresses), caller)


def _answer(asked: bytes, addresses: list[str]) -> bytes:
    """Return the answer of RFC 1035 to one question; none but for addresses of version 4."""
    end = asked.index(b"\x00", 12) + 5
    kind = struct.unpack(">H", asked[end - 4 : end - 2])[0]
    given = addresses if kind == _A else []
    header = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, len(given), 0, 0)
    # The name is the question's, whose place is 12.
    record = struct.pack(">HHHIH", 0xC00C, _A, 1, 1, 4)
    return header + asked[12:end] + b"".join(record + socket.inet_aton(one) for one in given)
