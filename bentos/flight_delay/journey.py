"""The way from nothing to a released model: data, features, training, release.

Each part is the very command that a person would type, and each is left out where its work is done.
`run.py` and `demo.py` walk it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from flights import read_redating

BENTO = Path(__file__).resolve().parent
ROOT = BENTO.parent.parent
FEATURE_REPO = ROOT / "feature_repo"
DATA = ROOT / "data"
MODEL = "flight_delay"

console = Console(stderr=True, highlight=False)

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
}
"""For the commands of this environment, also where it has not been activated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A released model: its versions, and which of them the ledger says is live."""

    champion: int
    challenger: int | None
    """The newest other version; None where there is none."""


def prepare(rows: int | None = None) -> Prepared:
    """Do whatever is missing until a version on this project's features is released.

    Args:
        rows: train on a sample of so many departures; None: on all.
    """
    prepare_data()
    prepare_features()
    versions = [version for version in read_versions() if version["project"] == project()]
    if not versions:
        train(rows)
        versions = [version for version in read_versions() if version["project"] == project()]
    champion = next((v["version"] for v in versions if v["state"] == "champion"), None)
    if champion is None:
        champion = best(versions)
        release(champion, "first release on these features")
    others = [v["version"] for v in versions if v["version"] != champion]
    return Prepared(champion=champion, challenger=max(others, default=None))


def prepare_data() -> None:
    """Make the sources where there are none for this project, or where they have run out."""
    redating = read_redating(DATA)
    if redating is not None and redating.exhausted(datetime.now(UTC)):
        begin_new_project()
    if redating is None or redating.project != project():
        command = ("python", BENTO / "flights.py", "--force", "--project", project())
        step("Flights of 2013, moved to today", *command, quiet=False)
    step("Users of the tutorial", "python", ROOT / "bentos" / "tutorial_users" / "users.py")


def begin_new_project() -> None:
    """Name a new Feast project: values of the year's old place and its new one must not mix."""
    fresh = f"flights_{datetime.now(UTC):%Y_%m_%d}"
    console.print(
        f"[bold yellow]The data has run out:[/] the year is moved to today again, into the Feast "
        f"project {fresh}, and the model is trained anew."
    )
    switch_project(fresh)


def prepare_features() -> None:
    """Apply the definitions, and bring online what has become known."""
    step("Feature definitions: feast apply", "feast", "apply", folder=FEATURE_REPO)
    refresh_features()


def refresh_features() -> None:
    """Bring online what has become known since the last time."""
    step("Features online: trivet materialize", "trivet", "materialize", "--json")


def train(rows: int | None) -> None:
    """Train and register the candidates."""
    sample = [] if rows is None else ["--rows", str(rows)]
    step("Training: trivet train flight_delay", "trivet", "train", MODEL, *sample, quiet=False)


def release(version: int, reason: str) -> None:
    """Make a version the champion."""
    command = ("trivet", "promote", MODEL, version, "--reason", reason)
    step(f"Release: trivet promote {MODEL} {version}", *command)


def best(versions: list[dict[str, Any]]) -> int:
    """Return the newest training's version with the largest AUC."""
    newest = sorted(versions, key=lambda version: version["version"])[-2:]
    return int(max(newest, key=lambda version: version["metrics"]["auc_macro"])["version"])


def read_versions() -> list[dict[str, Any]]:
    """Return the registered versions; none where the model is not known yet."""
    done = run_command("trivet", "models", MODEL, "--json", check=False)
    if done.returncode == UNKNOWN:
        return []
    done.check_returncode()
    versions: list[dict[str, Any]] = json.loads(done.stdout)
    return versions


UNKNOWN = 2
"""Exit code of `trivet models` for a model that nobody has registered."""


def project() -> str:
    """Return the Feast project that feature_store.yaml names."""
    found = re.search(r"^project: *(\S+)$", _feature_store().read_text(), flags=re.MULTILINE)
    if found is None:
        sys.exit("feature_repo/feature_store.yaml names no project.")
    return found[1]


def switch_project(name: str) -> None:
    """Make feature_store.yaml name another Feast project, and change nothing else in it."""
    text = _feature_store().read_text()
    changed = re.sub(r"^project: .*$", f"project: {name}", text, flags=re.MULTILINE)
    _feature_store().write_text(changed)


def _feature_store() -> Path:
    return FEATURE_REPO / "feature_store.yaml"


def step(
    title: str,
    *command: object,
    folder: Path = ROOT,
    quiet: bool = True,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run one command of the journey, and say what it is and how long it took.

    Args:
        title: what the command does, and what one would type.
        command: its words.
        folder: where it runs.
        quiet: show its output only if it fails.
        env: variables beside those of every command.
    """
    started = time.monotonic()
    if quiet:
        with console.status(title):
            done = run_command(*command, folder=folder, check=False, env=env)
    else:
        console.print(f"[bold]…[/] {title}")
        done = run_command(*command, folder=folder, check=False, shown=True, env=env)
    took = time.monotonic() - started
    if done.returncode:
        console.print(f"[bold red]✗[/] {title}")
        console.print(f"{done.stdout or ''}{done.stderr or ''}", markup=False)
        sys.exit(done.returncode)
    console.print(f"[bold green]✓[/] {title} [dim]{took:.1f} s[/]")


def run_command(
    *command: object,
    folder: Path = ROOT,
    check: bool = True,
    shown: bool = False,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment; its result is kept, its progress shown if asked."""
    words = [sys.executable if word == "python" else str(word) for word in command]
    return subprocess.run(  # noqa: S603 - the journey's own commands
        words,
        cwd=folder,
        env=environment(**(env or {})),
        check=check,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if shown else subprocess.PIPE,
    )


def environment(**more: str) -> Mapping[str, str]:
    """Return the environment for a command of the journey."""
    return {**ENVIRONMENT, **more}
