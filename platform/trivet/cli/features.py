"""`trivet materialize`: bring what has become known into the online store."""

from __future__ import annotations

from dataclasses import asdict

import click

from trivet.cli.output import err, json_option, local_time, out, print_json, table
from trivet.clock import system_clock
from trivet.settings import load_settings


@click.command()
@click.argument("views", nargs=-1)
@json_option
def materialize(views: tuple[str, ...], as_json: bool) -> None:
    """Bring VIEWS (default: every feature view) online, from where they stood up to now."""
    from trivet.features.materialize import materialize as materialize_views
    from trivet.features.store import open_store

    settings = load_settings()
    store = open_store(settings)
    done = []
    with err.status("Materializing") as status:
        for view in materialize_views(store, settings, system_clock(), views):
            done.append(view)
            status.update(f"Materializing: {view.view} is done")
    if as_json:
        print_json([asdict(view) for view in done])
        return
    rows = [(view.view, local_time(view.start), local_time(view.end)) for view in done]
    out.print(table(f"Online in {store.project}", ("view", "from", "to"), rows))


COMMANDS = (materialize,)
