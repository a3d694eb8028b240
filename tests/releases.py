"""Releases made in this process, as `trivet promote` and `rollback` make them, without their start.

The commands import MLflow for seconds; on a machine of few cores that would be measured instead.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from journey import Project, Service
from steady import Answer, Steady
from trivet.contract import Contract, Runtime, parse_contract
from trivet.live import CONTRACT, Shelf
from trivet.registry import plan, release
from trivet.registry.client import connect
from trivet.registry.flavor import POSTPROCESS, sha256
from trivet.registry.versions import DIGEST_TAG, RUNTIME_TAG
from trivet.settings import load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One release: when it was begun and had been made, and when the last old answer was asked for."""

    version: int
    begun: float
    made: float
    noticed: float
    """When the live state of the host said so."""
    old_until: float
    settled: float

    @property
    def seconds(self) -> float:
        """From the release to every worker answering with it."""
        return max(0.0, self.old_until - self.made)

    @property
    def after_noticed(self) -> float:
        """From the host's live state to every worker answering with it."""
        return max(0.0, self.old_until - self.noticed)


class Releaser:
    """Makes, promotes and rolls back versions of one model."""

    def __init__(self, project: Project, model: str) -> None:
        """Connect to the project's registry, whatever the environment says."""
        self.settings = load_settings(project.root)
        self.model = model
        self.client = connect(self.settings)
        self.shelf = Shelf(self.settings.home, model)

    def promote(self, version: int) -> None:
        """Promote a version, without gates."""
        planned = plan.plan_promotion(self.client, self.model, version)
        release.apply(self.client, self.settings, planned, {}, "ann", "a test")

    def roll_back(self) -> None:
        """Return to the version before."""
        planned = plan.plan_rollback(self.client, self.model)
        release.apply(self.client, self.settings, planned, {}, "ann", "a test")

    def vary(self, version: int, mark: str, change: Callable[[Path], None] = lambda _: None) -> int:
        """Register another version like one: its postprocess ends with a comment of its own.

        Args:
            version: to copy.
            mark: what the comment says.
            change: is done to the copied folder before the contract names what is in it.
        """
        folder = self.settings.root / "varied" / f"{self.model}-{mark}"
        shutil.copytree(self.folder(version), folder)
        with (folder / POSTPROCESS).open("a") as code:
            code.write(f"\n# {mark}\n")
        change(folder)
        contract = self._named_anew(folder)
        tags = {DIGEST_TAG: contract.digest, RUNTIME_TAG: contract.runtime.kind}
        made = self.client.create_model_version(self.model, folder.as_uri(), tags=tags)
        return int(made.version)

    def folder(self, version: int) -> Path:
        """Return where a version's artifacts lie."""
        uri = self.client.get_model_version_download_uri(self.model, str(version))
        return Path(uri.removeprefix("file://"))

    def _named_anew(self, folder: Path) -> Contract:
        contract = parse_contract((folder / CONTRACT).read_bytes())
        files = {file: sha256(folder / file) for file in contract.files}
        contract = contract.model_copy(update={"files": files})
        (folder / CONTRACT).write_text(contract.to_json())
        return contract


def change(  # noqa: PLR0917 - who, to what, and how
    steady: Steady,
    service: Service,
    releaser: Releaser,
    version: int,
    action: Callable[[], object],
    within: float = 30,
) -> Change:
    """Release a version under load, and wait until every worker answers with it alone."""
    begun = time.monotonic()
    action()
    made = time.monotonic()
    while (live := releaser.shelf.read_live()) is None or live.champion != version:
        assert time.monotonic() < made + within, service.tail()
        time.sleep(0.005)
    noticed = time.monotonic()
    old_until = steady.settle(version, service.workers, within)
    return Change(
        version=version,
        begun=begun,
        made=made,
        noticed=noticed,
        old_until=old_until,
        settled=time.monotonic(),
    )


def not_live(
    answers: Sequence[Answer], first: int, changes: Sequence[Change], within: float
) -> list[Answer]:
    """Return the answers by a version that was not live within so many seconds before.

    Args:
        answers: to judge.
        first: the version that was live before the first change.
        changes: one after the other.
        within: the seconds before an answer was asked for.
    """
    live = [(first, float("-inf"))]
    live += [(one.version, one.begun) for one in changes]
    ends = [one.made for one in changes] + [float("inf")]
    spans = [(version, start, end) for (version, start), end in zip(live, ends, strict=True)]
    return [
        answer
        for answer in answers
        if not any(
            version == answer.version and start <= answer.done and answer.seen - within <= end
            for version, start, end in spans
        )
    ]


def pyfunc(folder: Path) -> None:
    """Have a copied version served by MLflow's own flavor; see `Releaser.vary`."""
    contract = parse_contract((folder / CONTRACT).read_bytes())
    runtime = Runtime(kind="pyfunc", reason="a test")
    (folder / CONTRACT).write_text(contract.model_copy(update={"runtime": runtime}).to_json())
