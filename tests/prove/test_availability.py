"""Three replicas under load, a fault each time all are ready again, then a rolling restart."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import psutil
import pytest

from e2e.toy import AS_GOOD, MODEL, Toy
from gateways import Gateway
from journey import REPOSITORY
from releases import Releaser
from steady import Answer, Steady, quantile

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

RATE = 300.0
"""Requests a second."""
SECONDS = 180.0
STOPPED = 5.0
QUIET = 2.0
"""Seconds between the moment at which all are ready again and the next fault."""
AROUND = 1.0
"""The second of a fault."""
ANSWERED = 0.999
P99 = 100.0
"""Milliseconds."""
BODY = {"instances": [{"user": 1, "x": 2.0}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What was done, when, and when all replicas were ready after it."""

    kind: str
    at: float
    ready: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured; milliseconds unless a name says otherwise."""

    requests: int
    failed: int
    failed_statuses: dict[int, int]
    """How many of each; 0: no answer, or none that was whole."""
    answered_share: float
    failed_in_restart: int
    p50: float
    p99: float
    p99_everything: float
    slowest: float
    generator_late_p99: float
    faults: dict[str, int]
    """How many of each kind."""
    failed_by_fault: dict[str, int]
    ready_again_seconds: dict[str, float]
    """The longest of each kind."""
    restart_seconds: float


@dataclass(slots=True, kw_only=True)
class Story:
    """All requests, all faults, and the restart at the end."""

    answers: list[Answer]
    faults: list[Fault]
    restart: tuple[float, float]

    @property
    def figures(self) -> Figures:
        """All of it in numbers."""
        kinds = sorted({fault.kind for fault in self.faults})
        undisturbed = [a.milliseconds for a in self.answers if not self._near(a)]
        everything = [a.milliseconds for a in self.answers]
        begun, ended = self.restart
        failed = [a for a in self.answers if a.status != 200]
        return Figures(
            requests=len(self.answers),
            failed=len(failed),
            failed_statuses=dict(Counter(a.status for a in failed)),
            answered_share=1 - len(failed) / len(self.answers),
            failed_in_restart=sum(begun <= a.due < ended for a in failed),
            p50=quantile(undisturbed, 0.5),
            p99=quantile(undisturbed, 0.99),
            p99_everything=quantile(everything, 0.99),
            slowest=max(everything),
            generator_late_p99=quantile((a.late for a in self.answers), 0.99),
            faults={kind: len(self._of(kind)) for kind in kinds},
            failed_by_fault={
                kind: sum(f.at <= a.due < f.ready for a in failed for f in self._of(kind))
                for kind in kinds
            },
            ready_again_seconds={
                kind: round(max(f.ready - f.at for f in self._of(kind)), 2) for kind in kinds
            },
            restart_seconds=ended - begun,
        )

    def _near(self, answer: Answer) -> bool:
        return any(fault.at <= answer.due < fault.at + AROUND for fault in self.faults)

    def _of(self, kind: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind == kind]


class Teller:
    """Does something to one replica after the other."""

    def __init__(self, gateway: Gateway, releaser: Releaser) -> None:
        """Version 1 is live."""
        self._gateway, self._releaser = gateway, releaser
        self._turn = cycle(range(3))
        self._promoted = False
        self.faults: list[Fault] = []

    def tell(self, seconds: float) -> None:
        """Let faults happen for so long, a kind after the other."""
        end = time.monotonic() + seconds
        for kind, fault in cycle(self._kinds().items()):
            if time.monotonic() >= end:
                break
            at = time.monotonic()
            fault()
            self._gateway.settle(3, within=90)
            self.faults.append(Fault(kind=kind, at=at, ready=time.monotonic()))
            time.sleep(QUIET)

    def _kinds(self) -> dict[str, Callable[[], None]]:
        return {
            "group killed": self._kill,
            "stopped": self._stop,
            "worker killed": self._kill_worker,
            "promotion": self._release,
        }

    def _kill(self) -> None:
        replica = self._gateway.replicas[next(self._turn)]
        self._gateway.signal(replica.name, signal.SIGKILL)
        self._gateway.until(lambda: self._restarts(replica.name) > replica.restarts)

    def _stop(self) -> None:
        name = self._gateway.replicas[next(self._turn)].name
        self._gateway.signal(name, signal.SIGSTOP)
        time.sleep(STOPPED)
        self._gateway.signal(name, signal.SIGCONT)
        time.sleep(1)  # until it has said again whether it is ready

    def _kill_worker(self) -> None:
        name = self._gateway.replicas[next(self._turn)].name
        (worker,) = self._gateway.workers(name)
        worker.kill()
        psutil.wait_procs([worker], timeout=10)
        self._gateway.until(lambda: bool(self._answering(name, worker)), within=30)

    def _answering(self, name: str, before: psutil.Process) -> bool:
        workers = self._gateway.workers(name)
        return bool(workers) and workers != [before] and self._gateway.answers(name)

    def _release(self) -> None:
        if self._promoted:
            self._releaser.roll_back()
        else:
            self._releaser.promote(AS_GOOD)
        self._promoted = not self._promoted
        version = AS_GOOD if self._promoted else 1
        self._gateway.until(lambda: {r.version for r in self._gateway.replicas} == {version})

    def _restarts(self, name: str) -> int:
        return next(r.restarts for r in self._gateway.replicas if r.name == name)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Serve, send, and let it happen."""
    folder: Path = tmp_path_factory.mktemp("availability")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        toy = Toy(folder / "project")
        gateway = Gateway(project=toy.project, model=MODEL)
        toy.project.run("trivet", "up", MODEL, "--replicas", "3", "--detach", *gateway.where)
        try:
            yield told(gateway, Releaser(toy.project, MODEL), folder)
        finally:
            toy.project.run("trivet", "down")


def told(gateway: Gateway, releaser: Releaser, folder: Path) -> Story:
    """Return what happened under load."""
    teller = Teller(gateway, releaser)
    with Steady(gateway.port, BODY, RATE, folder / "load", connections=256) as load:
        time.sleep(QUIET)
        teller.tell(SECONDS)
        begun = time.monotonic()
        gateway.project.run("trivet", "restart", MODEL)
        restart = begun, time.monotonic()
        time.sleep(QUIET)
    return Story(answers=load.answers, faults=teller.faults, restart=restart)


@pytest.fixture(scope="module")
def figures(story: Story) -> Figures:
    """Return what was measured, and write it down."""
    found = story.figures
    report = REPOSITORY / "reports" / "availability.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(asdict(found), indent=2) + "\n")
    print(report.read_text())  # noqa: T201 - shown by `pytest -rP`
    return found


def test_nearly_every_request_is_answered(
    figures: Figures, record_property: Callable[[str, object], None]
) -> None:
    """Whatever befalls a replica, two others are there."""
    for name, value in asdict(figures).items():
        record_property(name, value)
    assert figures.requests > RATE * SECONDS * 0.95
    assert len(figures.faults) == 4
    assert figures.answered_share >= ANSWERED


def test_answers_are_fast_but_in_the_second_of_a_fault(figures: Figures) -> None:
    """Also while a replica starts, on the cores that the others answer on."""
    assert figures.p99 < P99


def test_a_rolling_restart_costs_no_request(figures: Figures) -> None:
    """Three replicas, one after the other."""
    assert figures.failed_in_restart == 0
