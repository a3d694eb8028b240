"""Requests that never stop while something happens, and what came of each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from journey import Service

_ENOUGH = 60
"""So many answers in a row from one version, by both workers, say that it alone answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request: when it began, and who answered what."""

    began: float
    status: int
    version: int | None
    replica: str | None
    text: str


class Traffic:
    """Sends one request after the other from several threads, as long as the block lasts."""

    def __init__(
        self, service: Service, body: dict[str, Any], *, senders: int = 3, pause: float = 0.02
    ) -> None:
        """`body`: what each request asks for; `pause`: seconds between two of one sender."""
        self._service = service
        self._body = body
        self._pause = pause
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(senders)]
        self.answers: list[Answer] = []

    @property
    def failed(self) -> list[Answer]:
        """The requests that were not answered by a prediction."""
        return [one for one in self.answers if one.status != httpx.codes.OK]

    def versions(self, start: float, end: float) -> set[int | None]:
        """Return who answered the requests that began in an interval."""
        return {one.version for one in list(self.answers) if start <= one.began < end}

    def settle(self, version: int, within: float) -> float:
        """Wait until a version alone answers; return when the last request to another one began."""
        deadline = time.monotonic() + within
        while not self._settled(version):
            assert time.monotonic() < deadline, (
                f"version {version} did not answer alone within {within:g} s\n"
                f"{self._service.tail()}"
            )
            time.sleep(0.02)
        return max((one.began for one in self.answers if one.version != version), default=0.0)

    def _settled(self, version: int) -> bool:
        recent = self.answers[-_ENOUGH:]
        replicas = {one.replica for one in recent}
        alone = {one.version for one in recent} == {version}
        return alone and len(recent) == _ENOUGH and len(replicas) == self._service.workers

    def _send(self) -> None:
        # A new connection each time: one that is kept asks the same worker again and again.
        headers = {"Connection": "close"}
        with httpx.Client(base_url=self._service.url, headers=headers, timeout=10) as client:
            while not self._stopped.wait(self._pause):
                self.answers.append(self._one(client))

    def _one(self, client: httpx.Client) -> Answer:
        began = time.monotonic()
        try:
            answer = client.post("/predict", json=self._body)
        except httpx.HTTPError as err:
            return Answer(began=began, status=0, version=None, replica=None, text=repr(err))
        document = answer.json()
        return Answer(
            began=began,
            status=answer.status_code,
            version=document["model"]["version"] if answer.is_success else None,
            replica=answer.headers["X-Trivet-Replica"],
            text="" if answer.is_success else answer.text,
        )

    def __enter__(self) -> Self:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop, after the requests under way."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
