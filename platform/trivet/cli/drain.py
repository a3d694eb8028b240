"""`trivet drain`: a service that goes on answering, and says that it is not ready."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import click
from rich.markup import escape

from trivet.cli.output import err, json_option, print_json
from trivet.errors import BadSetting, ProjectNotFound
from trivet.settings import load_settings


@click.command()
@click.option(
    "--wait", type=click.FloatRange(0), default=0.0, help="Return only after so many seconds."
)
@json_option
def drain(wait: float, as_json: bool) -> None:
    """Have the service with TRIVET_DRAIN_FILE say that it is not ready; it goes on answering.

    For what comes before a SIGTERM, such as Kubernetes' preStop: with --wait as long as it takes until
    nobody sends requests any more.
    """
    file = _drain_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    if not as_json:
        err.print(f"Not ready any more: {escape(str(file))}", highlight=False, soft_wrap=True)
    time.sleep(wait)
    if as_json:
        print_json({"file": str(file), "waited_seconds": wait})


def _drain_file() -> Path:
    """Return the setting; a container of a pinned bento is no project, and has the variable alone.

    Raises:
        BadSetting: it is not set.
    """
    named = os.environ.get("TRIVET_DRAIN_FILE")
    with suppress(ProjectNotFound):
        found = load_settings().drain_file
        named = None if found is None else str(found)
    if named is None:
        raise BadSetting("TRIVET_DRAIN_FILE is not set: it names the file that drains a service.")
    return Path(named)


COMMANDS = (drain,)
