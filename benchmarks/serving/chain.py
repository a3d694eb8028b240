"""Closed loop over two servers: features from `feast serve`, then `mlflow models serve` with them.

    python -m benchmarks.serving.chain --feast 6566 --mlflow 5000 --bodies FILE --seconds 3

What a client does who has these two: one call after the other, sixty-four such clients at a time, each
a thread with two kept connections. The servers give a few hundred answers a second, which is far
below what threads can ask for.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

_HEADERS = {"Content-Type": "application/json"}


def post(connection: HTTPConnection, path: str, body: bytes) -> Any:
    """Send a request, and return the answer's document.

    Raises:
        RuntimeError: the status is not 200.
    """
    connection.request("POST", path, body, _HEADERS)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:  # noqa: PLR2004 - HTTP's
        raise RuntimeError(f"{path} answered {answer.status}: {content[:300]!r}")
    return json.loads(content)


def frame_of(features: dict[str, Any]) -> bytes:
    """Turn Feast's answer into MLflow's request."""
    found = dict(zip(features["metadata"]["feature_names"], features["results"], strict=True))
    columns = sorted(name for name in found if name.startswith("feature_"))
    data = zip(*(found[name]["values"] for name in columns), strict=True)
    split = {"columns": columns, "data": [list(row) for row in data]}
    return json.dumps({"dataframe_split": split}).encode()


def ask(feast: HTTPConnection, mlflow: HTTPConnection, body: bytes) -> Any:
    """Ask both, one after the other."""
    return post(mlflow, "/invocations", frame_of(post(feast, "/get-online-features", body)))


class Clients:
    """As many callers at a time as there are threads."""

    def __init__(self, feast: int, mlflow: int, bodies: list[bytes], seconds: float) -> None:
        """`feast`, `mlflow`: ports on loopback."""
        self._ports = feast, mlflow
        self._bodies = bodies
        self._seconds = seconds
        self.took: list[float] = []
        self.failures: list[str] = []

    def run(self, threads: int) -> float:
        """Keep all callers busy for a while; return the seconds that it took."""
        began = time.perf_counter()
        callers = [threading.Thread(target=self._call, args=(n, began)) for n in range(threads)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        return time.perf_counter() - began

    def _call(self, number: int, began: float) -> None:
        feast, mlflow = (HTTPConnection("127.0.0.1", port, timeout=30) for port in self._ports)
        at = number * 151
        try:
            while (now := time.perf_counter()) - began < self._seconds:
                ask(feast, mlflow, self._bodies[at % len(self._bodies)])
                self.took.append(time.perf_counter() - now)
                at += 1
        except (OSError, RuntimeError, ValueError) as err:
            self.failures.append(str(err))
        finally:
            feast.close()
            mlflow.close()


def main() -> None:
    """Run once, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feast", type=int, required=True)
    parser.add_argument("--mlflow", type=int, required=True)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    bodies = options.bodies.read_bytes().splitlines()
    clients = Clients(options.feast, options.mlflow, bodies, options.seconds)
    spent = clients.run(options.connections)
    if clients.failures:
        sys.exit(f"{len(clients.failures)} clients failed; one: {clients.failures[0]}")
    took = sorted(1000 * t for t in clients.took)
    json.dump(
        {
            "requests": len(took),
            "seconds": spent,
            "p50_ms": took[len(took) // 2] if took else 0.0,
            "p99_ms": took[int(0.99 * len(took))] if took else 0.0,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
