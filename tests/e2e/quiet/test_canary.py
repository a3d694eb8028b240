"""A canary that misbehaves under load is set back by itself, and hardly anybody is hurt."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.toy import AS_GOOD, CALLERS, DIVERGES, GOOD, MODEL, RAISES, SLOW, Toy
from journey import Service
from waiting import wait_for

from .steady import Fate

pytestmark = pytest.mark.quiet

RATE = 250
BACK_WITHIN = 10.0
SLOW_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of all requests from before a canary began until well after it was set back."""

    version: int
    begun: float
    fates: list[Fate]

    @property
    def met(self) -> list[Fate]:
        """Those that were the canary's, answered by it or in its place."""
        return [
            one for one in self.fates if one.version == self.version or one.in_place_of is not None
        ]

    @property
    def back_after(self) -> float:
        """Seconds from the beginning until the last request that met the canary."""
        return max(one.at for one in self.met) - self.begun

    @property
    def hurt(self) -> list[Fate]:
        """Those that failed, were slow, or were put into the class that only the canary says."""
        return [
            one
            for one in self.fates
            if one.status != 200 or one.seconds > SLOW_SECONDS or not one.right
        ]


@pytest.fixture(scope="module")
def service(toy: Toy) -> Iterator[Service]:
    """Start the service with two workers."""
    with Service(toy.project, MODEL, workers=2) as service:
        load(service, 1)  # so that nothing is met for the first time
        yield service


def load(
    service: Service, seconds: float, then: Callable[[], object] = lambda: None
) -> tuple[float, list[Fate]]:
    """Send for so long, and do something a second after the beginning; return when it was done."""
    load.users += 100_000  # type: ignore[attr-defined]
    script = Path(__file__).with_name("steady.py")
    numbers = (service.port, RATE, seconds, load.users)  # type: ignore[attr-defined]
    sender = subprocess.Popen(
        [sys.executable, str(script), *map(str, numbers)], stdout=subprocess.PIPE, text=True
    )
    time.sleep(1)
    then()
    done = time.monotonic()
    output, _ = sender.communicate(timeout=seconds + 30)
    assert sender.returncode == 0
    return done, [Fate(**json.loads(line)) for line in output.splitlines()]


load.users = CALLERS  # type: ignore[attr-defined]


def tried(service: Service, version: int, begin: Callable[[], object], seconds: float) -> Tried:
    """Begin a canary under load."""
    begun, fates = load(service, seconds, begin)
    return Tried(version=version, begun=begun, fates=fates)


def assert_set_back(
    story: Tried, toy: Toy, limit: str, note: Callable[[str, object], None]
) -> None:
    """Within ten seconds, with fewer than one in a hundred hurt, and the ledger says why."""
    note("back_after_seconds", round(story.back_after, 2))
    note("hurt", f"{len(story.hurt)} of {len(story.fates)}, {len(story.met)} met it")
    note("slowest_ms", round(1000 * max(one.seconds for one in story.fates)))
    assert story.met, "the canary met no request"
    assert story.back_after < BACK_WITHIN
    assert len(story.hurt) < len(story.fates) / 100, len(story.hurt)
    entry = toy.ledger[-1]
    assert (entry.action, entry.tried, entry.who) == (
        "canary_end",
        story.version,
        "trivet (canary)",
    )
    assert limit in entry.reason


def test_a_canary_that_raises_errors_is_set_back(
    toy: Toy, service: Service, record_property: Callable[[str, object], None]
) -> None:
    """Nobody sees its errors: the champion answers, and says in whose place."""
    story = tried(service, RAISES, lambda: toy.try_out(RAISES), 6)
    assert_set_back(story, toy, "error rate 100.00% over the limit of 1.00%", record_property)
    assert {one.in_place_of for one in story.met} == {f"{RAISES}; raised"}
    assert {one.version for one in story.fates} == {GOOD}


def test_a_canary_that_is_slow_is_set_back(
    toy: Toy, service: Service, record_property: Callable[[str, object], None]
) -> None:
    """After 100 ms the champion's answer is given; who did not meet it does not notice."""
    story = tried(service, SLOW, lambda: toy.try_out(SLOW), 6)
    assert_set_back(story, toy, "error rate 100.00% over the limit of 1.00%", record_property)
    assert {one.in_place_of for one in story.met} == {f"{SLOW}; late"}
    assert {one.version for one in story.fates} == {GOOD}


def test_a_canary_that_diverges_is_set_back(
    toy: Toy, service: Service, record_property: Callable[[str, object], None]
) -> None:
    """Hurt is who got the class that the champion would not have given."""
    limits = {"divergence": 0.05, "min_requests": 10}
    story = tried(service, DIVERGES, lambda: toy.try_out(DIVERGES, limits=limits), 15)
    assert_set_back(story, toy, "divergence 100.00% over the limit of 5.00%", record_property)
    assert {one.version for one in story.met} == {DIVERGES}
    assert all(one.right == (one.version == GOOD) for one in story.fates)


def test_a_shadow_reports_how_often_and_how_far_it_differs(toy: Toy, service: Service) -> None:
    """And answers nothing; what the command shows is what the workers have counted."""
    _, fates = load(service, 4, lambda: toy.shadow(DIVERGES))
    assert {(one.version, one.status, one.right) for one in fates} == {(GOOD, 200, True)}
    time.sleep(1)
    shown = toy.project.json("trivet", "shadow", MODEL, "--json")
    figures = shown["figures"]
    assert shown["state"]["version"] == DIVERGES
    assert figures["rows"] > 50
    assert figures["divergence"] == 1.0
    assert figures["mean_difference"] > 0.5
    assert figures["errors"] == {}
    assert service.metric("trivet_beside_rows_total", kind="shadow", like="no") == figures["rows"]


def test_a_canary_that_holds_its_limits_is_promoted(toy: Toy, service: Service) -> None:
    """Without anybody's word; it answers all requests then, and the shadow has ended too."""
    story = tried(
        service,
        AS_GOOD,
        lambda: toy.try_out(
            AS_GOOD,
            percent=50,
            promote_after_seconds=3,
            promote_requests=100,
            limits={"divergence": 0.01, "p99_ms": 90, "error_rate": 0.05},
        ),
        7,
    )
    service.answering(AS_GOOD)
    assert not [one for one in story.fates if one.status != 200 or not one.right]
    assert {one.version for one in story.fates} == {GOOD, AS_GOOD}
    promoted, *ended = toy.ledger[-3:]
    assert (promoted.action, promoted.to_version) == ("promote", AS_GOOD)
    assert promoted.who == "trivet (canary)"
    assert {entry.action for entry in ended} == {"canary_end", "shadow_end"}
    # Nobody asks any more, and it is still told that none runs.
    wait_for(lambda: service.metric("trivet_canary_percent") == 0, shown=service.tail)
