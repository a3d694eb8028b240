"""`trivet bento`: a version as a bento that needs neither the project nor MLflow."""

from __future__ import annotations

from dataclasses import asdict

import click

from trivet.cli.output import err, json_option, print_json
from trivet.settings import load_settings


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@json_option
def bento(model: str, version: int, as_json: bool) -> None:
    """Build a BentoML bento of VERSION of MODEL: its files, its contract and Trivet itself.

    `bentoml serve TAG` answers with it from any folder, and needs no MLflow.
    """
    from trivet.registry.client import connect, require_database
    from trivet.serving.pinned.build import build_bento

    settings = load_settings()
    require_database(settings)
    built = build_bento(settings, connect(settings), model, version)
    for key in built.secrets:
        err.print(
            f"The bento holds what feature_store.yaml has at {key}. Put a $VARIABLE there to keep a "
            "password out of it.",
            style="yellow",
            highlight=False,
        )
    if as_json:
        print_json(asdict(built))
        return
    click.echo(built.tag)
    said = "Built" if built.new else "Already there, made of the same parts"
    err.print(f"{said}: {built.path}", style="dim", highlight=False, soft_wrap=True)
    err.print(f"Serve it: bentoml serve {built.tag}", style="dim", highlight=False, soft_wrap=True)


COMMANDS = (bento,)
