"""`trivet status`, `doctor`: what stands where, and what is wrong with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live
from rich.markup import escape

from trivet.cli.output import err, json_option, local_time, out, print_json, table
from trivet.cli.replicas import Latencies, gateway_document, gateway_view
from trivet.clock import system_clock
from trivet.errors import NothingUp, TrivetError, without_secrets
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.doctor import Finding
    from trivet.features.freshness import Freshness
    from trivet.overview import ModelState, ServiceState

_url_option = click.option("--url", help="The service's address; default: TRIVET_SERVICE_URL.")
_WATCH_SECONDS = 2.0
_VIEW_COLUMNS = ("view", "state", "newest", "age", "TTL", "materialized until")
_WRAPPING = ("newest", "age", "materialized until")
_STYLES = {"fresh": "green", "late": "yellow", "stale": "bold red", "never": "bold red"}


@click.command()
@_url_option
@click.option("--watch", is_flag=True, help="Show the replicas of trivet up, live, until Ctrl-C.")
@json_option
def status(url: str | None, watch: bool, as_json: bool) -> None:
    """Show what stands where: replicas, the service, MLflow's champions, how fresh feature views are.

    Quantiles are since a replica's start; with --watch, of the last two seconds. What does not answer
    is said to, and is no error: trivet doctor judges.
    """
    from trivet.gateway.state import read_state
    from trivet.overview import read_service

    settings = load_settings()
    if watch:
        _watch(settings)
        return
    gateway = read_state(settings)
    url = url or (None if gateway is None else gateway.own_url)
    now = system_clock()
    service = read_service(url or settings.service_url)
    models, mlflow_fault = _models(settings)
    views, feast_fault = _views(settings, now)
    latencies = {} if gateway is None else Latencies(window=False).look(gateway)
    if as_json:
        print_json(
            {
                "gateway": None if gateway is None else gateway_document(gateway, latencies),
                "service": asdict(service),
                "mlflow": {
                    "uri": without_secrets(settings.tracking_uri),
                    "fault": mlflow_fault,
                    "models": [asdict(model) for model in models],
                },
                "features": {"fault": feast_fault, "views": [asdict(view) for view in views]},
            }
        )
        return
    if gateway is not None:
        out.print(gateway_view(gateway, latencies), highlight=False)
    shown = table("Service", ("", ""), _service_rows(service))
    shown.show_header = False
    out.print(shown)
    rows = [_model_row(model) for model in models]
    out.print(table("MLflow", ("model", "champion", "alias", "on this host"), rows))
    _say_fault(mlflow_fault)
    out.print(table("Features online", _VIEW_COLUMNS, _view_rows(views, now), wraps=_WRAPPING))
    _say_fault(feast_fault)


@click.command()
@_url_option
@json_option
def doctor(url: str | None, as_json: bool) -> None:
    """Look the project over, part by part, and say what is wrong and what to do.

    Exit code 1 if something is wrong, 3 if something does not answer.
    """
    from trivet.doctor import DOWN, examine

    settings = load_settings()
    found = []
    for finding in examine(settings, url or settings.service_url):
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([asdict(finding) for finding in found])
    codes = {finding.exit_code for finding in found}
    sys.exit(DOWN if DOWN in codes else max(codes))


def _watch(settings: Settings) -> None:
    """Show the replicas, again and again.

    Raises:
        NothingUp: no supervisor runs, or none any more.
    """
    from trivet.gateway.state import read_state

    latencies = Latencies(window=True)
    with suppress(KeyboardInterrupt), Live(console=out, auto_refresh=False) as live:
        while (state := read_state(settings)) is not None:
            live.update(gateway_view(state, latencies.look(state)), refresh=True)
            time.sleep(_WATCH_SECONDS)
        raise NothingUp


def _models(settings: Settings) -> tuple[tuple[ModelState, ...], str | None]:
    from trivet.overview import read_models
    from trivet.registry.client import connect

    try:
        return read_models(connect(settings), settings), None
    except TrivetError as fault:
        return (), str(fault)


def _views(settings: Settings, now: datetime) -> tuple[tuple[Freshness, ...], str | None]:
    from trivet.features.freshness import read_freshness
    from trivet.features.store import open_store

    try:
        return read_freshness(open_store(settings), now), None
    except TrivetError as fault:
        return (), str(fault)


def _say_fault(fault: str | None) -> None:
    if fault is not None:
        err.print(fault, style="red", highlight=False, markup=False, soft_wrap=True)


def _service_rows(service: ServiceState) -> Iterator[tuple[str, str]]:
    yield "address", service.url
    if service.model is None:
        yield "ready", "[red]no answer[/]"
        return
    yield "ready", "[green]yes[/]" if service.ready else "[red]no[/]"
    yield "model", escape(service.model)
    yield "champion", "-" if service.champion is None else str(service.champion)
    yield "loaded", ", ".join(str(number) for number in service.versions) or "-"
    yield "refused", escape(service.refused or "-")
    yield "features", _fit(service.features)


def _fit(features: dict[str, Any] | None) -> str:
    """Say whether Feast offers what the live version relies on, as the service's follower found."""
    if features is None or features["ok"] is None:
        return "not compared"
    return "fit" if features["ok"] else f"[bold red]{len(features['differences'])} differ[/]"


def _model_row(model: ModelState) -> tuple[str, ...]:
    return (
        escape(model.model),
        f"{model.champion} (interrupted)" if model.interrupted else str(model.champion),
        "-" if model.alias is None else str(model.alias),
        "-" if model.here is None else str(model.here),
    )


def _view_rows(views: Iterable[Freshness], now: datetime) -> Iterator[tuple[str, ...]]:
    for view in views:
        age = view.age(now)
        ttl = view.ttl_seconds
        yield (
            escape(view.view),
            f"[{_STYLES[view.state]}]{view.state}[/]",
            "-" if view.newest is None else local_time(view.newest),
            "-" if age is None else _span(age),
            "never" if ttl is None else _span(timedelta(seconds=ttl)),
            "-" if view.materialized_until is None else local_time(view.materialized_until),
        )


def _span(length: timedelta) -> str:
    """Return a length of time in its largest two units."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0 s"


def _show(finding: Finding) -> None:
    mark = "[green]✓[/]" if finding.ok else "[bold red]✗[/]"
    line = f"{mark} [bold]{escape(finding.check)}[/]: {escape(finding.detail)}"
    out.print(line, highlight=False, soft_wrap=True)
    if finding.differences:
        rows = [(d.column, d.aspect, d.contract, d.feast) for d in finding.differences]
        out.print(table("", ("column", "what", "contract", "Feast now"), rows))
    if finding.todo:
        out.print(f"  {finding.todo}", style="dim", highlight=False, soft_wrap=True, markup=False)


COMMANDS = (status, doctor)
