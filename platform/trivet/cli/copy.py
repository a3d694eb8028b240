"""`trivet copy`: a version in another environment's registry."""

from __future__ import annotations

from dataclasses import asdict

import click

from trivet.cli.output import err, json_option, out, print_json
from trivet.settings import load_settings


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--to", required=True, metavar="URI", help="Tracking URI of the other registry.")
@json_option
def copy(model: str, version: int, to: str, as_json: bool) -> None:
    """Copy VERSION of MODEL to another registry: contract, code, evidence, and where it comes from.

    Copied again, it is the version that is there. It is released there by a command that is pointed
    there, against the features of that environment.
    """
    from trivet.registry.client import connect, require_database
    from trivet.registry.copying import copy_version, shown_uri

    settings = load_settings()
    require_database(settings)
    done = copy_version(connect(settings), settings, model, version, to)
    if as_json:
        print_json(asdict(done))
        return
    said = "is" if done.new else "was there already:"
    out.print(f"{model} version {version} {said} version [bold]{done.version}[/] there.")
    err.print(
        f"Release it there: MLFLOW_TRACKING_URI={shown_uri(to)} trivet promote {model} {done.version}",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


COMMANDS = (copy,)
