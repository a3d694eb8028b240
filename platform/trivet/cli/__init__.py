"""The `trivet` command: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys

import click

from trivet.cli import (
    adopt,
    apply,
    batch,
    bento,
    canary,
    copy,
    drain,
    entities,
    features,
    gateway,
    logs,
    releases,
    services,
    skew,
    states,
    stream,
    versions,
)
from trivet.cli.output import show_error
from trivet.errors import TrivetError
from trivet.features.importing import feast_unchecked
from trivet.settings import silence_telemetry

_DEFINING = ("apply", "train")
"""Commands that run somebody's definitions of features, or code beside them: Feast checks those."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trivet")
@click.pass_context
def trivet(context: click.Context) -> None:
    """MLflow decides which version answers, Feast brings its features, BentoML serves it.

    Exit codes: 0 done, 1 refused by a check, 2 wrong usage, 3 something needed is down.
    """
    if context.invoked_subcommand not in _DEFINING:
        context.with_resource(feast_unchecked())


for group in (
    versions,
    releases,
    canary,
    adopt,
    batch,
    bento,
    copy,
    apply,
    features,
    entities,
    logs,
    skew,
    services,
    gateway,
    drain,
    states,
    stream,
):
    for command in group.COMMANDS:
        trivet.add_command(command)


def main() -> None:
    """Run the command line; the only place that maps errors to exit codes."""
    silence_telemetry()
    try:
        trivet.main(prog_name="trivet", standalone_mode=False)
    except TrivetError as err:
        show_error(err)
        sys.exit(err.exit_code)
    except click.ClickException as err:
        err.show()
        sys.exit(2)
    except click.Abort:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
