"""`make demo`: versions change while requests run, and not one request fails."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import httpx
import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

import journey
import servers
from journey import DATA, MODEL, console

PORT = 3100
WORKERS = 2
SENDERS = 4
SECONDS = 3.0
"""How long each phase of steady traffic is."""
CHANGE_SECONDS = 10.0
"""How long a release may take until every answer comes from it."""
FIELDS = ["origin", "dest", "carrier", "tailnum", "scheduled_departure", "scheduled_arrival"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request: when it began, what came back, and how long that took."""

    at: float
    status: int
    version: int | None
    milliseconds: float


@dataclass
class Traffic:
    """Requests for upcoming departures, sent by several threads until it is stopped."""

    url: str
    instances: list[dict[str, Any]]
    sent: list[Sent] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def send(self, offset: int) -> None:
        """Send one request after the other, from a place of its own in the schedule."""
        schedule = cycle(self.instances[offset:] + self.instances[:offset])
        with httpx.Client(timeout=10) as client:
            while not self.stopped.is_set():
                self.sent.append(self._one(client, next(schedule)))
                time.sleep(0.01)

    def _one(self, client: httpx.Client, instance: dict[str, Any]) -> Sent:
        began = time.monotonic()
        status, version = 0, None
        try:
            answer = client.post(f"{self.url}/predict", json={"instances": [instance]})
            status = answer.status_code
            version = answer.json()["model"]["version"] if answer.is_success else None
        except httpx.HTTPError as err:
            console.print(f"[red]A request failed: {err!r}[/]")
        took = 1000 * (time.monotonic() - began)
        return Sent(at=began, status=status, version=version, milliseconds=took)

    def between(self, start: float, end: float) -> list[Sent]:
        """Return the requests that began in an interval."""
        return [one for one in self.sent if start <= one.at < end]

    def wait_for(self, version: int) -> None:
        """Return once the last twenty answers all came from a version."""
        deadline = time.monotonic() + CHANGE_SECONDS
        while time.monotonic() < deadline:
            if {one.version for one in self.sent[-20:]} == {version}:
                return
            time.sleep(0.05)
        sys.exit(f"Version {version} did not answer within {CHANGE_SECONDS:g} s of its release.")


def main() -> None:
    """Prepare, serve with two workers, change versions under traffic, and show what happened."""
    prepared = journey.prepare()
    with servers.service(PORT, workers=WORKERS) as url:
        traffic = Traffic(url=url, instances=upcoming())
        senders = [threading.Thread(target=traffic.send, args=(7 * n,)) for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            phases = change_versions(traffic, prepared)
        finally:
            traffic.stopped.set()
            for sender in senders:
                sender.join()
    console.print(table(phases))
    failed = sum(one.status != httpx.codes.OK for one in traffic.sent)
    console.print(f"{len(traffic.sent):,} requests, [bold]{failed}[/] failed.")
    sys.exit(1 if failed else 0)


def change_versions(traffic: Traffic, prepared: journey.Prepared) -> dict[str, list[Sent]]:
    """Send traffic through a promotion and a rollback; return the requests of each phase."""
    champion, challenger = prepared.champion, prepared.challenger
    if challenger is None:
        sys.exit(f"{MODEL} has only version {champion}: trivet train {MODEL} registers two more.")
    phases: dict[str, list[Sent]] = {}

    def phase(name: str, action: Callable[[], None]) -> None:
        start = time.monotonic()
        action()
        phases[name] = traffic.between(start, time.monotonic())

    def promote() -> None:
        journey.release(challenger, "make demo")
        traffic.wait_for(challenger)

    def rollback() -> None:
        journey.step(f"Rollback: trivet rollback {MODEL}", "trivet", "rollback", MODEL)
        traffic.wait_for(champion)

    phase(f"v{champion} is champion", lambda: time.sleep(SECONDS))
    phase(f"promote v{challenger}", promote)
    phase(f"v{challenger} is champion", lambda: time.sleep(SECONDS))
    phase("roll back", rollback)
    phase(f"v{champion} again", lambda: time.sleep(SECONDS))
    return phases


def upcoming() -> list[dict[str, Any]]:
    """Return the departures of the next three hours, as requests ask about them."""
    now = pd.Timestamp(datetime.now(UTC))
    departures = pd.read_parquet(DATA / "flights" / "departures.parquet")
    moment = departures["scheduled_departure"]
    soon = departures[(moment > now) & (moment < now + timedelta(hours=3))]
    if len(soon) < SENDERS * 7:  # at night there is not much: ask about the next ones
        soon = departures[moment > now].nsmallest(200, "scheduled_departure")
    chosen = soon[FIELDS].astype({name: str for name in FIELDS if not name.startswith("sched")})
    for name in ("scheduled_departure", "scheduled_arrival"):
        chosen[name] = soon[name].map(pd.Timestamp.isoformat)
    records: list[dict[str, Any]] = chosen.to_dict("records")
    return records


def table(phases: dict[str, list[Sent]]) -> Table:
    """Lay out the phases: requests, failures, who answered, and how fast."""
    made = Table(title="What happened", title_justify="left", box=SIMPLE_HEAD)
    for column in ("phase", "requests", "failed", "answered by", "p50 ms", "p99 ms"):
        words = column in ("phase", "answered by")
        made.add_column(column, justify="left" if words else "right", no_wrap=True)
    for name, sent in phases.items():
        counts = Counter(one.version for one in sent if one.version is not None)
        p50, p99 = np.percentile([one.milliseconds for one in sent], [50, 99])
        made.add_row(
            name,
            f"{len(sent):,}",
            str(sum(one.status != httpx.codes.OK for one in sent)),
            ", ".join(f"v{v}: {n:,}" for v, n in sorted(counts.items())),
            f"{p50:.1f}",
            f"{p99:.1f}",
        )
    return made


if __name__ == "__main__":
    main()
