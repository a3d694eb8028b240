"""A service whose features lie in a Redis that goes away and comes back while requests run."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.servers import RedisServer
from journey import Project, Service
from load import Load, Sent, statuses

MODEL = "tutorial_users"
BODY = {"instances": [{"user_id": "u001"}]}
LIMIT = 1.0
"""Seconds: the service's deadline for its feature store, as it is set by default."""
SETTLES = 3.0
"""Seconds within which the service has noticed that something went away or came back."""
ENOUGH = 40
"""So many answers after that tell what a phase came to."""

_SQLITE = "type: sqlite\n  path: ../data/online.db"
_REJECTING = "offer = read_offer(store, SERVICE)  # without policies: an absent feature is rejected"
_DEFAULTING = """from trivet.contract import Default

    offer = read_offer(
        store, SERVICE, {"age": Default(default=40.0), "income": Default(default=9e4)}
        | {"purchases": Default(default=20)}
    )"""
FEATURES = ("age", "income", "purchases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of the story: from when it began until the next one did."""

    name: str
    start: float
    end: float

    @property
    def settled(self) -> float:
        """The moment from which on the service has noticed."""
        return self.start + SETTLES


@dataclass(slots=True, kw_only=True)
class Outage:
    """The service, its Redis, the load on it, and the phases so far."""

    project: Project
    service: Service
    redis: RedisServer
    load: Load
    usual: Any
    """The predictions while all is well."""
    workers: set[int]
    """Process ids of what the service started with."""
    counted: Counter[int]
    """Requests that `/metrics` had counted by status before the load."""
    absent: float
    phases: list[Phase] = field(default_factory=list)

    @contextlib.contextmanager
    def phase(self, name: str, seconds: float = SETTLES) -> Iterator[None]:
        """Name what happens inside the block; it lasts so long, and until there are enough answers."""
        start = time.monotonic()
        yield
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        end = time.monotonic() + 30
        while len(self._settled(start + SETTLES, time.monotonic())) < ENOUGH:
            assert time.monotonic() < end, f"hardly an answer: {name}\n{self.service.tail()}"
            time.sleep(0.05)
        self.phases.append(Phase(name=name, start=start, end=time.monotonic()))

    def __getitem__(self, name: str) -> Phase:
        """Return a phase by its name."""
        return next(phase for phase in self.phases if phase.name == name)

    def materialize(self) -> None:
        """Bring online again what a Redis that was restarted has lost."""
        self.project.run("trivet", "materialize", "--again", "user_profile")

    def right(self, name: str) -> None:
        """See that a phase ended with answers from features, and nothing else."""
        sent = self._of(name)
        wrong = [s for s in sent if s.status != 200 or s.document["missing"]]
        assert not wrong, (name, len(wrong), len(sent), wrong[-1])
        assert all(s.document["predictions"] == self.usual for s in sent)
        self.ready(name, 200)

    def refused(self, name: str) -> None:
        """See that a phase ended with 503, and nothing else: a problem that says when to ask again."""
        sent = self._of(name)
        assert statuses(sent) == {503: len(sent)}, (name, statuses(sent))
        assert {s.media_type for s in sent} == {"application/problem+json"}
        assert {s.document["title"] for s in sent} == {"Features unavailable"}
        assert all(s.retry_after is not None for s in sent)
        self.ready(name, 503)

    def by_policy(self, name: str) -> None:
        """See that a phase ended with answers by the columns' policy, which say what was missing."""
        sent = self._of(name)
        assert statuses(sent) == {200: len(sent)}, (name, statuses(sent))
        said = {(m["column"], "default" in m) for s in sent for m in s.document["missing"]}
        assert said == {(column, True) for column in FEATURES}
        assert all(len(s.document["missing"]) == len(FEATURES) for s in sent)
        self.ready(name, 200)

    def ready(self, name: str, status: int) -> None:
        """See that `/readyz` had come to one answer, on either worker."""
        phase = self[name]
        probes = self.load.probes(phase.settled, phase.end)
        assert {one.status for one in probes} == {status}, (name, probes)

    def in_time(self, slack: float) -> None:
        """See that every request of all was answered, at most so long after its deadline."""
        lost = [s for s in self.load.sent if s.status not in (200, 503)]
        assert not lost, (len(lost), lost[0])
        slowest = max(self.load.sent, key=lambda s: s.seconds)
        assert slowest.seconds < LIMIT + slack, slowest

    def counted_all(self) -> None:
        """See that `/metrics` has counted every request by status, and every absent value."""
        counted = count(self.service) - self.counted
        assert counted == statuses(self.load.sent)
        missing = sum(len(s.document["missing"]) for s in self.load.sent if s.status == 200)
        assert self.service.metric("trivet_absent_values_total") - self.absent == missing

    def nothing_restarted(self) -> None:
        """See that the very processes that were started are there, and have answered."""
        assert {process.pid for process in self.service.processes()} == self.workers
        answered = {int(s.replica.rpartition("-")[2]) for s in self.load.sent if s.replica}
        assert len(answered) == self.service.workers
        assert answered <= self.workers

    def _of(self, name: str) -> list[Sent]:
        phase = self[name]
        return self._settled(phase.settled, phase.end)

    def _settled(self, start: float, end: float) -> list[Sent]:
        """Return what was sent and answered between two moments."""
        return [s for s in self.load.between(start, end) if s.at + s.seconds <= end]


@contextlib.contextmanager
def served_from_redis(folder: Path, rate: float, registry: Path) -> Iterator[Outage]:
    """Train, release and serve the tutorial's users from a Redis of their own, under load.

    `registry`: the database to begin with, which is copied.
    """
    project = Project.copy(folder / "project")
    shutil.copyfile(registry, project.root / "mlflow.db")
    with RedisServer(folder) as redis:
        _edit(project, "feature_repo/feature_store.yaml", _SQLITE, _redis(redis))
        _edit(project, "bentos/tutorial_users/train.py", _REJECTING, _DEFAULTING)
        project.release_users()
        with Service(project, MODEL, workers=2) as service:
            usual = service.post("/predict", BODY).json()
            assert usual["missing"] == []
            outage = Outage(
                project=project,
                service=service,
                redis=redis,
                load=Load(url=service.url, body=BODY, rate=rate),
                usual=usual["predictions"],
                workers={process.pid for process in service.processes()},
                counted=count(service),
                absent=service.metric("trivet_absent_values_total"),
            )
            yield outage


def count(service: Service) -> Counter[int]:
    """Return the requests that `/metrics` has counted, by status."""
    counted: Counter[int] = Counter()
    for sample in service.samples("trivet_requests_total"):
        counted[int(sample.labels["status"])] += int(sample.value)
    return counted


def _redis(redis: RedisServer) -> str:
    return f"type: redis\n  connection_string: {redis.address}"


def _edit(project: Project, file: str, before: str, after: str) -> None:
    path = project.root / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
