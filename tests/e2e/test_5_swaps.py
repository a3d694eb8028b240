"""Versions are swapped while requests come at a steady rate; what is broken never answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from journey import Project, Service
from releases import Change, Releaser, change, not_live
from steady import Steady, quantile
from trivet.live import CONTRACT

from .conftest import example
from .registry import MODEL, Registry

pytestmark = pytest.mark.quiet

RATE = 120.0
LIVE_WITHIN = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Promotions and rollbacks under load, and who answered."""

    steady: Steady
    changes: list[Change]


@pytest.fixture(scope="module")
def releaser(project: Project, registry: Registry) -> Iterator[Releaser]:
    """Return what makes releases; the versions that a test has made are deleted in the end."""
    before = set(registry.versions)
    made = Releaser(project, MODEL)
    yield made
    for version in set(registry.versions) - before:
        made.client.delete_model_version(MODEL, str(version))


@pytest.fixture(scope="module")
def story(service: Service, releaser: Releaser, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Begin and end with version 1."""
    other = releaser.vary(1, "another")
    folder = tmp_path_factory.mktemp("load")
    with Steady(service.port, example(service), RATE, folder) as steady:

        def to(version: int, action: Callable[[], object]) -> Change:
            return change(steady, service, releaser, version, action)

        changes = [
            to(2, lambda: releaser.promote(2)),
            to(1, releaser.roll_back),
            to(other, lambda: releaser.promote(other)),
            to(2, lambda: releaser.promote(2)),
            to(other, releaser.roll_back),
            to(1, releaser.roll_back),
        ]
    return Story(steady=steady, changes=changes)


def test_no_request_fails_and_each_names_its_version(story: Story, service: Service) -> None:
    """In both workers, at a rate that does not wait for answers."""
    answers = story.steady.answers
    assert [one for one in answers if one.status != 200 or one.version is None] == []
    assert len({one.replica for one in answers}) == service.workers


def test_nobody_is_answered_by_a_version_that_was_not_live(story: Story) -> None:
    """Within the three seconds before."""
    assert not_live(story.steady.answers, 1, story.changes, LIVE_WITHIN) == []
    assert max(one.seconds for one in story.changes) < LIVE_WITHIN


def test_a_swap_holds_nobody_up(story: Story) -> None:
    """What the generator was late itself is not counted; the bound is for a busy machine."""
    took = [one.milliseconds for one in story.steady.answers]
    assert max(took) < 1000
    assert quantile(took, 0.99) < 250


def damage(folder: Path) -> None:
    """Write something else over the model."""
    (folder / "model.onnx").write_bytes(b"no model")


def remove(folder: Path) -> None:
    """Delete the model."""
    (folder / "model.onnx").unlink()


def answer_wrongly(folder: Path) -> None:
    """Have the contract say another result for the first golden row."""
    contract = json.loads((folder / CONTRACT).read_text())
    contract["golden"][0]["prediction"]["confidence"] = 0.123
    (folder / CONTRACT).write_text(json.dumps(contract))


def nothing(folder: Path) -> None:
    """Leave a version as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A way in which a version is broken: before it is registered or after, and what is said of it."""

    name: str
    before: Callable[[Path], None] = nothing
    after: Callable[[Path], None] = nothing
    says: str


@pytest.mark.parametrize(
    "broken",
    [
        Broken(name="damaged", after=damage, says="model.onnx of flight_delay version"),
        Broken(name="missing", after=remove, says="is missing"),
        Broken(name="wrong", before=answer_wrongly, says="golden row 0 gives another confidence"),
    ],
    ids=lambda broken: broken.name,
)
@pytest.mark.usefixtures("story")
def test_a_broken_version_never_answers(
    broken: Broken, service: Service, releaser: Releaser, tmp_path: Path
) -> None:
    """The old one stays in every worker, says why, and is no longer refused after a rollback."""
    version = releaser.vary(1, broken.name, broken.before)
    broken.after(releaser.folder(version))
    with Steady(service.port, example(service), RATE, tmp_path) as steady:
        releaser.promote(version)
        refused = wait_for(service, lambda why: why is not None)
        releaser.roll_back()
        wait_for(service, lambda why: why is None)
    assert broken.says in refused
    assert {(one.status, one.version) for one in steady.answers} == {(200, 1)}


def test_requests_to_an_alias_that_is_removed_end_by_404(
    story: Story, service: Service, releaser: Releaser, registry: Registry, tmp_path: Path
) -> None:
    """Those under way are answered; a version that is dropped takes nobody with it."""
    registry.point("challenger", 2)
    path = "/aliases/challenger/predict"
    deadline = time.monotonic() + 15
    while any(service.post(path, example(service), **FRESH).status_code != 200 for _ in range(8)):
        assert time.monotonic() < deadline, service.tail()
    with Steady(service.port, example(service), RATE, tmp_path, path=path) as steady:
        registry.point("challenger", None)
        while [one.status for one in steady.look()[-40:]] != [404] * 40:
            assert time.monotonic() < deadline, service.tail()
            time.sleep(0.02)
    assert {(one.status, one.version) for one in steady.answers} == {(200, 2), (404, None)}
    assert "loaded versions: 1" in service.post(path, example(service)).json()["detail"]


FRESH = {"headers": {"Connection": "close"}}
"""A connection that is kept asks the same worker again and again."""


def wait_for(service: Service, holds: Callable[[str | None], bool]) -> str:
    """Wait until both workers say the like of what they refuse, and return the last word."""
    deadline = time.monotonic() + 20
    said: dict[str, str | None] = {}
    while len(said) < service.workers or not all(map(holds, said.values())):
        assert time.monotonic() < deadline, service.tail()
        answer = service.get("/status", **FRESH)
        said[answer.headers["X-Trivet-Replica"]] = answer.json()["refused"]
    return str(next(iter(said.values())))
