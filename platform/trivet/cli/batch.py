"""`trivet batch`: predictions for the rows of a file, each exactly once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from trivet.cli.output import json_option, out, print_json
from trivet.settings import load_settings

if TYPE_CHECKING:
    from trivet.batch.engines import Engine
    from trivet.batch.job import Options
    from trivet.batch.run import Outcome

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("model")
@click.option("--entities", required=True, type=_FILE, help="Parquet: keys, request, timestamp.")
@click.option("--out", "folder", required=True, type=_FOLDER, help="The job's own folder.")
@click.option("--version", type=click.IntRange(min=1), help="Predict with this version.")
@click.option("--alias", help="Predict with this one [champion, or what the job began with].")
@click.option(
    "--timestamp", help="The column with the moment at which a row is asked [event_timestamp]."
)
@click.option(
    "--event-time", help="A column with events instead: asked the contract's lead before."
)
@click.option("--now", is_flag=True, help="All rows are asked at the moment of the job's start.")
@click.option("--online", is_flag=True, help="Values of the online store, now.")
@click.option(
    "--keep", multiple=True, help="Column that goes along; '*': all. Default: keys, moment."
)
@click.option("--with-features", is_flag=True, help="Add the features that the model was given.")
@click.option("--override", multiple=True, help="Feature that the file has values of its own for.")
@click.option("--label", help="Column with what happened: class id or name, or value.")
@click.option("--partition-by", multiple=True, help="Column of the output; may be given again.")
@click.option("--compression", type=click.Choice(["zstd", "snappy"]), default="zstd")
@click.option("--rows-per-chunk", type=click.IntRange(min=1), default=100_000)
@click.option("--most-rejects", default="1%", help="Rows that may be lost: 100, or 1% (default).")
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Processes of this machine.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local")
@click.option("--address", help="Of a running Ray cluster; default: one is started here.")
@json_option
def batch(
    model: str,
    *,
    entities: Path,
    folder: Path,
    version: int | None,
    alias: str | None,
    most_rejects: str,
    workers: int,
    engine: str,
    address: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict every row of a file with a version of MODEL, and write Parquet.

    May be interrupted at any moment, and run again: it goes on, and the output is the same. Exit code 1
    if more rows were rejected than may be.
    """
    from trivet.batch.limits import MostRejects
    from trivet.batch.run import Request, run_batch
    from trivet.cli.batch_bar import BatchBar

    request = Request(
        model=model,
        entities=entities,
        out=folder,
        version=version,
        alias=alias,
        options=_options(**options),
        most_rejects=MostRejects.parse(most_rejects),
        engine=_engine(engine, address, workers),
    )
    with BatchBar() as bar:
        outcome = run_batch(load_settings(), request, bar)
    if as_json:
        print_json(_document(outcome, folder))
    else:
        _show(outcome, folder)


def _options(*, timestamp: str | None, event_time: str | None, now: bool, **others: Any) -> Options:
    from trivet.batch.job import Options

    online = others["online"]
    if sum((timestamp is not None, event_time is not None, now)) > 1:
        raise click.UsageError("--timestamp, --event-time and --now exclude each other.")
    if online and (timestamp is not None or event_time is not None):
        raise click.UsageError("--online has the values of now: there is no other moment to ask.")
    moment = "now" if now or online else "timestamp" if event_time is None else "event"
    return Options(
        moment=moment,
        timestamp=timestamp or event_time or "event_timestamp",
        online=online,
        rows_per_chunk=others["rows_per_chunk"],
        keep=others["keep"] or None,
        with_features=others["with_features"],
        overrides=others["override"],
        partition_by=others["partition_by"],
        label=others["label"],
        compression=others["compression"],
    )


def _engine(engine: str, address: str | None, workers: int) -> Engine:
    from trivet.batch.engines import in_process, in_processes

    if engine == "ray":
        if workers > 1:
            raise click.UsageError("--workers is for this machine; Ray has its own.")
        from trivet.batch.on_ray import on_ray

        return on_ray(address)
    if address is not None:
        raise click.UsageError("--address is for --engine ray.")
    return in_process if workers == 1 else in_processes(workers)


def _document(outcome: Outcome, folder: Path) -> dict[str, Any]:
    wanted = outcome.job.wanted
    counts = {k: v for k, v in asdict(outcome).items() if k != "job"}
    return {
        "model": wanted.model,
        "version": wanted.version,
        "contract_digest": wanted.contract_digest,
        "out": str(folder),
        **counts,
        "seconds": round(outcome.seconds, 3),
        "rows_per_second": round(outcome.rate, 1),
    }


def _show(outcome: Outcome, folder: Path) -> None:
    wanted = outcome.job.wanted
    out.print(
        f"[bold]{escape(wanted.model)}[/] version {wanted.version}: {outcome.predicted:,} of "
        f"{outcome.rows:,} rows predicted, {outcome.rejected:,} rejected, "
        f"{outcome.missing:,} with a feature missing",
        highlight=False,
        soft_wrap=True,
    )
    before = f", {outcome.resumed_rows:,} rows were done before" if outcome.resumed_rows else ""
    out.print(f"{outcome.seconds:.1f} s, {outcome.rate:,.0f} rows/s{before}", highlight=False)
    if outcome.quality:
        scores = dict(outcome.quality)
        labelled = scores.pop("labelled_rows")
        figures = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        line = f"{labelled:,.0f} of them have a label: {figures}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    click.echo(folder / "predictions")


COMMANDS = (batch,)
