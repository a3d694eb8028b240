"""Closed loop by callers in Python, for what wrk cannot ask or would count wrongly.

    python -m benchmarks.serving.callers --port 3000 --path /predict --bodies FILE --connections 4
    python -m benchmarks.serving.callers --port 6566 --then 5000 --bodies FILE

The first is for requests that take so long that only a few are answered in the time: every caller's
last one is waited for, and its time counted. The second is what a client does who has `feast serve`
and `mlflow models serve`: features from the one, then a prediction from the other. Each caller is a
thread with kept connections; the servers give a few hundred answers a second, which is far below what
threads can ask for.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

_HEADERS = {"Content-Type": "application/json"}
Ask = Callable[[list[HTTPConnection], bytes], object]


def post(connection: HTTPConnection, path: str, body: bytes) -> bytes:
    """Send a request, and return the answer's body.

    Raises:
        RuntimeError: the status is not 200.
    """
    connection.request("POST", path, body, _HEADERS)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:  # noqa: PLR2004 - HTTP's
        raise RuntimeError(f"{path} answered {answer.status}: {content[:300]!r}")
    return content


def frame_of(features: dict[str, Any]) -> bytes:
    """Turn Feast's answer into MLflow's request."""
    found = dict(zip(features["metadata"]["feature_names"], features["results"], strict=True))
    columns = sorted(name for name in found if name.startswith("feature_"))
    data = zip(*(found[name]["values"] for name in columns), strict=True)
    split = {"columns": columns, "data": [list(row) for row in data]}
    return json.dumps({"dataframe_split": split}).encode()


def ask_both(connections: list[HTTPConnection], body: bytes) -> Any:
    """Ask Feast, and then MLflow with what it gave."""
    feast, mlflow = connections
    features = json.loads(post(feast, "/get-online-features", body))
    return json.loads(post(mlflow, "/invocations", frame_of(features)))


class Callers:
    """As many callers at a time as there are threads."""

    def __init__(self, ask: Ask, ports: list[int], bodies: list[bytes], seconds: float) -> None:
        """`ask`: with a connection to each of the ports on loopback."""
        self._ask = ask
        self._ports = ports
        self._bodies = bodies
        self._seconds = seconds
        self.took: list[float] = []
        self.failures: list[str] = []

    def run(self, threads: int) -> float:
        """Keep all callers busy for a while; return the seconds until the last has its answer."""
        began = time.perf_counter()
        callers = [threading.Thread(target=self._call, args=(n, began)) for n in range(threads)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        return time.perf_counter() - began

    def _call(self, number: int, began: float) -> None:
        connections = [HTTPConnection("127.0.0.1", port, timeout=60) for port in self._ports]
        at = number * 151
        try:
            while (now := time.perf_counter()) - began < self._seconds:
                self._ask(connections, self._bodies[at % len(self._bodies)])
                self.took.append(time.perf_counter() - now)
                at += 1
        except (OSError, RuntimeError, ValueError) as err:
            self.failures.append(str(err))
        finally:
            for connection in connections:
                connection.close()


def main() -> None:
    """Run once, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--then", type=int)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    bodies = options.bodies.read_bytes().splitlines()

    def ask_one(connections: list[HTTPConnection], body: bytes) -> bytes:
        return post(connections[0], options.path, body)

    ports = [options.port] if options.then is None else [options.port, options.then]
    ask = ask_one if options.then is None else ask_both
    callers = Callers(ask, ports, bodies, options.seconds)
    spent = callers.run(options.connections)
    if callers.failures:
        sys.exit(f"{len(callers.failures)} callers failed; one: {callers.failures[0]}")
    took = sorted(1000 * t for t in callers.took)
    json.dump(
        {
            "requests": len(took),
            "seconds": spent,
            "p50_ms": took[len(took) // 2],
            "p99_ms": took[int(0.99 * len(took))],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
