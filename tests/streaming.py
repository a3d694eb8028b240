"""`trivet stream` as processes, requests at a steady rate, and consumers that are killed under it.

with Consumer(project, redis, "toy") as one, Requests(redis, "toy", rate=500) as load:
    ...
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import orjson
import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families

from contract.servers import RedisServer
from journey import Project, free_port
from waiting import wait_for

_FIELD = b"__data__"
_EVERY = 0.02
"""Seconds between two batches of requests."""


class Consumer:
    """One process of `trivet stream MODEL`."""

    def __init__(
        self,
        project: Project,
        broker: RedisServer,
        model: str,
        name: str,
        *options: str,
        role: str | None = "predictions",
    ) -> None:
        """Nothing is started before `start`, or before the block is entered.

        `role`: None: none is typed, and both are run.
        """
        self._project = project
        self.port = free_port()
        self.log = project.root / f"stream-{name}.log"
        url = f"redis://{broker.address}/0"
        self._command = ["trivet", "stream", model, "--broker", url]
        self._command += [] if role is None else ["--role", role]
        self._command += ["--consumer", name, "--port", str(self.port), *options]
        self._process: psutil.Popen | None = None

    def start(self) -> Self:
        """Start it; it may take seconds until it reads."""
        env = self._project.env | {"TRIVET_STREAM_IDLE_SECONDS": "2"}
        with self.log.open("ab") as log:
            self._process = psutil.Popen(
                self._command,
                cwd=self._project.root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def ready(self, within: float = 60) -> Self:
        """Wait until it reads."""
        wait_for(self.is_well, within, self.tail)
        return self

    def is_well(self) -> bool:
        """Say whether `/health` does."""
        assert self._process is not None
        assert self._process.poll() is None, self.tail()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End it by a signal that it cannot see."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> int:
        """End it as `kill` does, and return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        return int(self._process.wait(40))

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with this name and these labels."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def tail(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        """Start, and wait until it reads."""
        return self.start().ready()

    def __exit__(self, *raised: object) -> None:
        """Stop."""
        self.stop()


@dataclass(kw_only=True)
class Requests:
    """Requests at a steady rate from a thread, and what came back for them."""

    broker: RedisServer
    model: str
    rate: float
    make: Callable[[int], dict[str, Any]]
    """Makes the instance of the n-th request."""
    sent: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread = threading.Thread(target=self._send)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Send no more."""
        self._stopped.set()
        assert self._thread is not None
        self._thread.join()

    def predictions(self) -> list[Any]:
        """Return what came back, in its order."""
        return self._all("predictions")

    def dead(self) -> list[Any]:
        """Return what was given up."""
        return self._all("dead")

    def answered(self) -> int:
        """Return how many predictions there are."""
        with redis.Redis(port=self.broker.port) as client:
            return int(client.xlen(f"trivet.{self.model}.predictions"))

    def all_answered_once(self) -> None:
        """See that every request has been answered, and none twice."""
        wait_for(lambda: self.answered() >= self.sent, 60, lambda: f"{self.answered()}/{self.sent}")
        ids = [one["id"] for one in self.predictions()]
        twice = [one for one, count in Counter(ids).items() if count > 1]
        assert not twice, (len(twice), twice[:5])
        assert set(ids) == {str(n) for n in range(self.sent)}
        assert not self.dead()

    def _all(self, end: str) -> list[Any]:
        with redis.Redis(port=self.broker.port) as client:
            entries = client.xrange(f"trivet.{self.model}.{end}")
        return [orjson.loads(fields[_FIELD]) for _, fields in entries]

    def _send(self) -> None:
        began = time.monotonic()
        stream = f"trivet.{self.model}.requests"
        with redis.Redis(port=self.broker.port) as client:
            while not self._stopped.is_set():
                due = int((time.monotonic() - began) * self.rate)
                with client.pipeline(transaction=False) as pipe:
                    for number in range(self.sent, due):
                        request = {"id": str(number), "instance": self.make(number)}
                        pipe.xadd(stream, {_FIELD: orjson.dumps(request)})
                    pipe.execute()
                self.sent = max(self.sent, due)
                time.sleep(_EVERY)


def kill_under_load(project: Project, load: Requests, kills: int, pause: float) -> None:
    """Have two consumers work, and kill one after the other; a new one takes its place each time."""
    consumers = [
        Consumer(project, load.broker, load.model, f"c{number}").start() for number in range(2)
    ]
    try:
        for consumer in consumers:
            consumer.ready()
        with load:
            for number in range(kills):
                time.sleep(pause)
                consumers[number % 2].kill()
                name = f"c{number + 2}"
                consumers[number % 2] = Consumer(project, load.broker, load.model, name).start()
                consumers[number % 2].ready()
            time.sleep(pause)
        load.all_answered_once()
    finally:
        codes = [consumer.stop() for consumer in consumers]
    assert codes == [0, 0], [consumer.tail() for consumer in consumers]
