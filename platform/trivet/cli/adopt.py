"""`trivet adopt`: a contract for a version that somebody else registered."""

from __future__ import annotations

from pathlib import Path

import click

from trivet.cli.logs import KeyValue
from trivet.cli.output import err, json_option, out, print_json, table
from trivet.settings import load_settings


@click.command()
@click.argument("uri", metavar="models:/NAME/VERSION")
@click.option("--feature-service", help="Of Feast, which brings its columns.")
@click.option("--request", multiple=True, metavar="COLUMN", help="Sent by the caller instead.")
@click.option("--null", "nullable", multiple=True, metavar="COLUMN", help="It may be null.")
@click.option(
    "--rows", type=click.Path(path_type=Path), help="Parquet; default: its input example."
)
@click.option("--field", "fields", type=KeyValue(), multiple=True, help="Of the example request.")
@click.option("--classes", help="Names of a classifier's classes, in order: no,yes.")
@click.option("--unit", default="", help="Of a regression.")
@json_option
def adopt(
    uri: str,
    *,
    feature_service: str | None,
    request: tuple[str, ...],
    nullable: tuple[str, ...],
    rows: Path | None,
    fields: tuple[tuple[str, str], ...],
    classes: str | None,
    unit: str,
    as_json: bool,
) -> None:
    """Give a version that was registered without Trivet a contract, so that it can be released.

    Its signature is checked against the features; a difference is shown column by column, and
    nothing is changed.
    """
    from trivet.registry.adopt import parse_uri
    from trivet.registry.client import connect, require_database
    from trivet.training.adopting import Adoption
    from trivet.training.adopting import adopt as adopt_version

    settings = load_settings()
    require_database(settings)
    client = connect(settings)
    model, version = parse_uri(client, uri)
    adoption = Adoption(
        model=model,
        version=version,
        feature_service=feature_service,
        request=request,
        nullable=nullable,
        classes=tuple(classes.split(",")) if classes else (),
        unit=unit,
        rows=rows,
        fields=dict(fields),
    )
    contract = adopt_version(settings, client, adoption)
    if as_json:
        print_json(
            {
                "model": model,
                "version": version,
                "contract_digest": contract.digest,
                "runtime": contract.runtime.model_dump(mode="json"),
            }
        )
        return
    shown = [(c.name, c.source, c.dtype, str(c.absent)) for c in contract.columns]
    out.print(table(f"{model} version {version}", ("column", "from", "dtype", "if absent"), shown))
    runtime = contract.runtime
    out.print(f"Runtime: {runtime.kind}" + (f" ({runtime.reason})" if runtime.reason else ""))
    err.print(f"Release it: trivet promote {model} {version}", style="dim", highlight=False)


COMMANDS = (adopt,)
