"""`trivet materialize`: bring what has become known into the online store."""

from __future__ import annotations

from dataclasses import asdict

import click

from trivet.cli.output import json_option, local_time, out, print_json, table
from trivet.clock import system_clock
from trivet.settings import load_settings


@click.command()
@click.argument("views", nargs=-1)
@click.option(
    "--again", is_flag=True, help="From as far back as the TTL reaches, also what was done."
)
@json_option
def materialize(views: tuple[str, ...], again: bool, as_json: bool) -> None:
    """Bring VIEWS (default: every feature view) online, from where they stood up to now.

    May be interrupted at any moment, and run again: a view counts as done when its last row is written.
    """
    from trivet.cli.progress import Bars
    from trivet.features.materialize import materialize as materialize_views
    from trivet.features.store import open_store

    settings = load_settings()
    store = open_store(settings)
    with Bars() as bars:
        now = system_clock()
        done = list(
            materialize_views(store, settings, now, views, again=again, watcher=bars.watcher)
        )
    if as_json:
        print_json([asdict(view) for view in done])
        return
    rows = [
        (view.view, local_time(view.start), local_time(view.end), f"{view.rows:,}") for view in done
    ]
    out.print(table(f"Online in {store.project}", ("view", "from", "to", "rows"), rows))


COMMANDS = (materialize,)
