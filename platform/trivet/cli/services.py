"""`trivet train`, `predict`, `report`: the commands around a bento and its running service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx
import orjson

from trivet.cli.output import err, json_option, out, print_json, table
from trivet.clock import system_clock
from trivet.contract import Contract, parse_contract
from trivet.errors import (
    BadSetting,
    NoChampion,
    ServiceRefused,
    ServiceUnreachable,
    WrongService,
)
from trivet.example import example_request
from trivet.live import CONTRACT, Shelf
from trivet.overview import is_here
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.observe.report import Estimate, Report

_url_option = click.option("--url", help="The service's address; default: TRIVET_SERVICE_URL.")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("bento")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(bento: str, arguments: tuple[str, ...]) -> None:
    """Run bentos/BENTO/train.py, which registers what it trains; ARGUMENTS are passed on."""
    script = load_settings().root / "bentos" / bento / "train.py"
    if not script.exists():
        raise BadSetting(f"There is no {script.relative_to(script.parents[2])}.")
    command = [sys.executable, str(script), *arguments]
    # By default the threads of a fit wait for each other by spinning: beside a service, or anything
    # else that is busy, a fit then takes ten times as long, and so do its neighbours.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    done = subprocess.run(  # noqa: S603 - the project's own script
        command, cwd=script.parent, env=environment, check=False
    )
    sys.exit(done.returncode)


@click.command()
@click.argument("model")
@click.argument("instances", required=False, type=click.File("rb"))
@click.option("--example", is_flag=True, help="Print a request body instead of sending one.")
@_url_option
def predict(model: str, instances: Any, example: bool, url: str | None) -> None:
    """Send INSTANCES (a file, or - for standard input) to the service of MODEL, and print the answer.

    Without INSTANCES, a golden row of the live version is asked as of now.
    """
    settings = load_settings()
    address = url or settings.service_url
    if instances is not None and not example:
        _check_model(address, model)
        _send(address, instances.read())
        return
    body = example_request(live_contract(settings, model, url), system_clock())
    if example:
        print_json(body)
    else:
        _check_model(address, model)
        _send(address, orjson.dumps(body))


@click.command()
@click.argument("model")
@click.option("--out", "folder", type=click.Path(path_type=Path), help="Default: reports/MODEL.")
@click.option("--balance", is_flag=True, help="Try each way of balancing on the running replicas.")
@click.option("--replica", "replicas", multiple=True, help="HOST:PORT of one of them; repeatable.")
@click.option("--requests", default=900, type=click.IntRange(1, 100_000), show_default=True)
@click.option("--rate", default=150.0, type=click.FloatRange(1, 5000), show_default=True)
@click.option("--slow-ms", default=60.0, type=click.FloatRange(1, 10_000), show_default=True)
@_url_option
@json_option
def report(
    model: str,
    *,
    folder: Path | None,
    balance: bool,
    replicas: tuple[str, ...],
    requests: int,
    rate: float,
    slow_ms: float,
    url: str | None,
    as_json: bool,
) -> None:
    """Draw what MODEL's running service spends on each step, and its distribution of latency.

    With --balance: how each strategy spreads --requests of them, --rate a second, over the replicas
    of `trivet up` (or each --replica), as they are and with one of them --slow-ms slower.
    """
    from trivet.observe.report import write_report

    settings = load_settings()
    target = folder or settings.root / "reports" / model
    if balance:
        from trivet.cli.balance import report_balance
        from trivet.gateway.trial import Traffic

        body = orjson.dumps(example_request(live_contract(settings, model, url), system_clock()))
        traffic = Traffic(body=body, requests=requests, rate=rate, slow_ms=slow_ms)
        report_balance(model, settings, replicas, traffic, target, as_json=as_json)
        return
    metrics = _get(f"{url or settings.service_url}/metrics").text
    made = write_report(metrics, model, target, system_clock())
    if as_json:
        print_json(asdict(made))
        return
    title = f"{model}: {made.total.count:,} answered requests"
    out.print(table(title, ("step", "average ms", "p50 ms", "p99 ms"), _timing_rows(made)))
    err.print("Averages are exact; a quantile lies in the bucket beside it.", style="dim")
    click.echo(made.picture)


def _timing_rows(made: Report) -> Iterator[tuple[str, ...]]:
    for step in (*made.steps, made.total):
        yield step.name, f"{step.average_ms:.3f}", _quantile(step.p50), _quantile(step.p99)
    yield "of it in no step", f"{made.waiting_average_ms:.3f}", "", ""


def _quantile(found: Estimate) -> str:
    if found.bucket_to_ms is None:
        return f"over {found.bucket_from_ms:g}"
    return f"{found.ms:.3f} ({found.bucket_from_ms:g} to {found.bucket_to_ms:g})"


def live_contract(settings: Settings, model: str, url: str | None) -> Contract:
    """Return the live contract: this host's own copy, else the registry's, or the named service's."""
    if url is None:
        shelf = Shelf(settings.home, model)
        live = shelf.read_live()
        if live is None:  # no service here has followed it yet
            return _released(settings, model)
        digest = next(entry.digest for entry in live.versions if entry.version == live.champion)
        return parse_contract((shelf.path(digest) / CONTRACT).read_bytes())
    return parse_contract(_get(f"{url}/contract").content)


def _released(settings: Settings, model: str) -> Contract:
    from trivet.registry.claim import CHAMPION
    from trivet.registry.client import connect
    from trivet.registry.download import read_contract
    from trivet.registry.versions import read_aliases

    client = connect(settings)
    champion = read_aliases(client, model).get(CHAMPION)
    if champion is None:
        raise NoChampion(model)
    return read_contract(client, model, champion)


def _ask(method: str, url: str, **how: Any) -> httpx.Response:
    """Ask a service; one on this machine never through a proxy of the environment's.

    Raises:
        ServiceUnreachable: it does not answer, or the address is none.
    """
    try:
        return httpx.request(method, url, timeout=30, trust_env=not is_here(url), **how)
    except (httpx.HTTPError, httpx.InvalidURL) as cause:
        raise ServiceUnreachable(url) from cause


def _get(url: str) -> httpx.Response:
    answer = _ask("GET", url)
    if answer.is_error:
        raise ServiceRefused(url, answer.status_code, answer.text)
    return answer


def _check_model(address: str, model: str) -> None:
    """Check that the service at an address is the model's: each service has one.

    Raises:
        ServiceUnreachable, ServiceRefused: there is none, or another one.
    """
    served = orjson.loads(_get(f"{address}/status").content)["model"]
    if served != model:
        raise WrongService(address, served, model)


def _send(address: str, body: bytes) -> None:
    answer = _ask(
        "POST", f"{address}/predict", content=body, headers={"Content-Type": "application/json"}
    )
    if answer.headers.get("content-type", "").startswith("application/"):
        print_json(answer.json())
    else:
        click.echo(answer.text)
    if answer.is_error:
        err.print(f"HTTP {answer.status_code}", style="red")
        sys.exit(3 if answer.is_server_error else 1)
    if timing := answer.headers.get("server-timing"):
        err.print(timing, style="dim", highlight=False, soft_wrap=True)


COMMANDS = (train, predict, report)
