"""Versions change under steady load: what it does to requests, to memory, and how long it takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import psutil
import pytest

from journey import REPOSITORY, Project, Service
from releases import Change, Releaser, change, not_live, pyfunc
from steady import Answer, Steady, quantile

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1200)]

MODEL = "flight_delay"
RATE = 350.0
"""Requests a second."""
CHANGES = 20
SWAPS = 50
REQUESTS = 20_000
QUIET = 10.0
PAUSE = 2.0
"""Seconds of nothing but load, before the first release and between two."""
LIVE_WITHIN = 3.0
FOLLOWED_WITHIN = 3.0
PYFUNC_WITHIN = 30.0
ROLLED_BACK_WITHIN = 0.5
SLOWEST = 250.0
"""Milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured; times in milliseconds unless their name says otherwise."""

    requests: int
    failed: int
    not_live: int
    quiet_p50: float
    quiet_p99: float
    swap_p50: float
    swap_p99: float
    swap_max: float
    generator_late_p99: float
    generator_late_max: float
    followed_seconds_median: float
    followed_seconds_max: float
    warm_rollback_seconds_max: float
    pyfunc_seconds: float
    pyfunc_max: float
    mib_after_5: float
    mib_after_50: float


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened: releases and rollbacks, then many more releases, and a version by pyfunc."""

    steady: Steady
    changes: list[Change]
    rollbacks: list[Change]
    swaps: list[Change]
    """All of them, in their order; the pyfunc version's is not among them."""
    by_pyfunc: Change
    quiet: list[tuple[float, float]]
    memory: dict[int, float]
    """MiB of all workers together, by the number of swaps so far."""

    @property
    def undisturbed(self) -> list[Answer]:
        """The requests that were due while nothing was released."""
        return [one for start, end in self.quiet for one in self.steady.between(start, end)]

    @property
    def disturbed(self) -> list[Answer]:
        """The requests that were due during one of the releases and rollbacks."""
        return [a for one in self.changes for a in self.steady.between(one.begun, one.settled)]

    @property
    def figures(self) -> Figures:
        """All of it in numbers."""
        quiet = [one.milliseconds for one in self.undisturbed]
        swap = [one.milliseconds for one in self.disturbed]
        slow = self.steady.between(self.by_pyfunc.begun, self.by_pyfunc.settled)
        everything = self.steady.answers
        followed = [one.seconds for one in self.swaps]
        return Figures(
            requests=len(everything),
            failed=sum(one.status != 200 for one in everything),
            not_live=len(self._not_live()),
            quiet_p50=quantile(quiet, 0.5),
            quiet_p99=quantile(quiet, 0.99),
            swap_p50=quantile(swap, 0.5),
            swap_p99=quantile(swap, 0.99),
            swap_max=max(swap),
            generator_late_p99=quantile((one.late for one in everything), 0.99),
            generator_late_max=max(one.late for one in everything),
            followed_seconds_median=quantile(followed, 0.5),
            followed_seconds_max=max(followed),
            warm_rollback_seconds_max=max(one.after_noticed for one in self.rollbacks),
            pyfunc_seconds=self.by_pyfunc.seconds,
            pyfunc_max=max(one.milliseconds for one in slow),
            mib_after_5=self.memory[5],
            mib_after_50=self.memory[SWAPS],
        )

    def _not_live(self) -> list[Answer]:
        """Return who was answered by a version that had not been live for too long a while."""
        answers, slow = self.steady.answers, self.by_pyfunc
        before = [one for one in answers if one.due < slow.begun]
        after = [one for one in answers if one.due >= slow.begun]
        last = self.swaps[-1].version
        return [
            *not_live(before, 1, self.swaps, LIVE_WITHIN),
            *not_live(after, last, [slow], PYFUNC_WITHIN),
        ]


class Teller:
    """Lets it happen."""

    def __init__(self, releaser: Releaser, service: Service, steady: Steady) -> None:
        """Nothing has happened yet; version 1 is live."""
        self._releaser = releaser
        self._service = service
        self._steady = steady
        self.stack = [1]
        self.swaps: list[Change] = []
        self.rollbacks: list[Change] = []
        self.quiet: list[tuple[float, float]] = []
        self.memory: dict[int, float] = {}

    def promote(self, version: int) -> None:
        """Promote a version that was never released."""
        self.stack.append(version)
        self._change(version, lambda: self._releaser.promote(version))

    def roll_back(self) -> None:
        """Return to the version before."""
        self.stack.pop()
        self.rollbacks.append(self._change(self.stack[-1], self._releaser.roll_back))

    def rest(self, seconds: float) -> None:
        """Release nothing for a while."""
        start = time.monotonic()
        time.sleep(seconds)
        self.quiet.append((start, time.monotonic()))

    def _change(self, version: int, action: Callable[[], object]) -> Change:
        done = change(self._steady, self._service, self._releaser, version, action)
        self.swaps.append(done)
        self.memory[len(self.swaps)] = resident(self._steady.answers[-400:])
        return done


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Train, serve, and change versions under load; each version is another one."""
    folder = tmp_path_factory.mktemp("releases")
    project = Project.copy(folder / "project")
    project.run("python", "flights.py", cwd=f"bentos/{MODEL}")
    project.run("python", "users.py", cwd="bentos/tutorial_users")
    project.run("feast", "apply", cwd="feature_repo")
    project.run("trivet", "materialize")
    project.run("trivet", "train", MODEL, "--rows", "2500")
    releaser = Releaser(project, MODEL)
    versions = iter([releaser.vary(1, f"variation {n}") for n in range(SWAPS)])
    slow = releaser.vary(1, "pyfunc", pyfunc)
    releaser.promote(1)
    with Service(project, MODEL, workers=2) as service:
        time.sleep(QUIET)  # the follower imports Feast, once
        with Steady(service.port, example(service), RATE, folder / "load") as steady:
            teller = Teller(releaser, service, steady)
            teller.rest(QUIET)
            for number in range(CHANGES):
                if number % 5 in {2, 4}:
                    teller.roll_back()
                else:
                    teller.promote(next(versions))
                teller.rest(PAUSE)
            changes = list(teller.swaps)
            while len(teller.swaps) < SWAPS:
                teller.promote(next(versions))
            by_pyfunc = change(
                steady, service, releaser, slow, lambda: releaser.promote(slow), PYFUNC_WITHIN + 30
            )
        yield Story(
            steady=steady,
            changes=changes,
            rollbacks=teller.rollbacks,
            swaps=teller.swaps,
            by_pyfunc=by_pyfunc,
            quiet=teller.quiet,
            memory=teller.memory,
        )


@pytest.fixture(scope="module")
def figures(story: Story) -> Figures:
    """Return what was measured, and write it down."""
    found = story.figures
    report = REPOSITORY / "reports" / "releases_under_load.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(asdict(found), indent=2) + "\n")
    print(report.read_text())  # noqa: T201 - shown by `pytest -rP`
    return found


def test_not_one_request_fails(figures: Figures) -> None:
    """Over 20 releases and rollbacks with pauses, and then 30 without any."""
    assert figures.requests >= REQUESTS
    assert figures.failed == 0


def test_nobody_is_answered_by_a_version_that_was_not_live(figures: Figures) -> None:
    """Within the three seconds before, or the 30 of one that loads slowly; each names its version."""
    assert figures.not_live == 0


def test_a_release_is_followed_within_seconds(figures: Figures) -> None:
    """By every worker; a version of MLflow's own flavor takes longer, as it brings its libraries."""
    assert figures.followed_seconds_max < FOLLOWED_WITHIN
    assert figures.pyfunc_seconds < PYFUNC_WITHIN


def test_a_rollback_to_a_warm_version_is_a_pointer(figures: Figures) -> None:
    """From when the host has noticed to when every worker answers with it alone."""
    assert figures.warm_rollback_seconds_max < ROLLED_BACK_WITHIN


def test_a_swap_is_hardly_felt(figures: Figures) -> None:
    """No request takes long, and p99 stays within twice what it is without."""
    assert figures.swap_max < SLOWEST
    assert figures.pyfunc_max < SLOWEST
    assert figures.swap_p99 < 2 * figures.quiet_p99


def test_memory_does_not_grow_with_swaps(figures: Figures) -> None:
    """Each was to another version."""
    assert figures.mib_after_50 < 1.1 * figures.mib_after_5


def example(service: Service) -> dict[str, object]:
    """Return the example of the service's own description."""
    operation = service.get("/docs.json").json()["paths"]["/predict"]["post"]
    body: dict[str, object] = operation["requestBody"]["content"]["application/json"]["example"]
    return body


def resident(recent: list[Answer]) -> float:
    """Return the MiB of memory that all workers which have answered lately take together."""
    workers = {int(one.replica.rpartition("-")[2]) for one in recent}
    return sum(psutil.Process(pid).memory_info().rss for pid in workers) / 2**20
