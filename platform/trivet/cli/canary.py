"""`trivet canary`, `shadow`: run a version beside the champion, see how it does, and end it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from trivet.canary.state import Canary, Kind, Limits, Shadow, State, kind_of
from trivet.canary.tally import Figures, added_up, quantile, read_tallies, read_verdict
from trivet.cli.output import json_option, local_time, out, print_json, table
from trivet.gates import release_gates
from trivet.live import Shelf
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.registry.client import Client
    from trivet.registry.ledger import Release

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|min|h|d)", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration such as 90s, 30m, 2h or 1d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


_version = click.argument("version", type=click.IntRange(min=1), required=False)
_stop = click.option("--stop", is_flag=True, help="End it.")
_reason = click.option("--reason", default="", help="Why; kept in the ledger.")
_tolerance = click.option(
    "--tolerance",
    type=float,
    help="Regression: how far a value may be off, in its unit, and still be like the champion's; "
    "default: a tenth of it.",
)


@click.command()
@click.argument("model")
@_version
@click.option(
    "--percent", type=click.FloatRange(0, 100), help="Share of requests, such as 10 or 0.5."
)
@click.option("--error-rate", type=float, help="Limit: share of requests it may fail (0.01).")
@click.option("--p99-ms", type=float, help="Limit: its p99, in milliseconds.")
@click.option("--p99-ratio", type=float, help="Limit: its p99, as a multiple of the champion's.")
@click.option("--divergence", type=float, help="Limit: share of rows unlike the champion's.")
@click.option("--difference", type=float, help="Limit: mean absolute difference from the champion.")
@_tolerance
@click.option("--timeout-ms", type=float, help="After this the champion's answer is given (100).")
@click.option("--min-requests", type=int, help="Requests before anything is judged (20).")
@click.option(
    "--promote-after", type=_Duration(), help="Promote it when its limits held so long: 30m, 2h."
)
@click.option("--promote-requests", type=int, help="Requests it must have had by then (300).")
@_stop
@_reason
@json_option
def canary(  # noqa: PLR0917 - click gives them by name
    model: str,
    version: int | None,
    percent: float | None,
    promote_after: float | None,
    promote_requests: int | None,
    stop: bool,
    reason: str,
    as_json: bool,
    **limits: Any,
) -> None:
    """Have VERSION of MODEL answer a share of the requests, while its limits hold.

    Without VERSION: show the canary and its figures on this host.
    """
    if stop or percent == 0:
        _end(model, "canary", reason, as_json)
    elif version is None:
        _show(model, "canary", as_json)
    elif percent is None:
        raise click.UsageError("--percent says how much of the traffic it gets.")
    else:
        given = {name: value for name, value in limits.items() if value is not None}
        wanted = {"version": version, "percent": percent, "limits": given}
        if promote_after is not None:
            wanted["promote_after_seconds"] = promote_after
        if promote_requests is not None:
            wanted["promote_requests"] = promote_requests
        _begin(model, _made(Canary, wanted), reason, as_json)


@click.command()
@click.argument("model")
@_version
@click.option(
    "--percent", type=click.FloatRange(0, 100), help="Share of requests it computes (100)."
)
@_tolerance
@_stop
@_reason
@json_option
def shadow(  # noqa: PLR0917 - as above
    model: str,
    version: int | None,
    percent: float | None,
    tolerance: float | None,
    stop: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Have VERSION of MODEL compute beside the champion, and report how it differs.

    Without VERSION: show the shadow and its figures on this host.
    """
    if stop or percent == 0:
        _end(model, "shadow", reason, as_json)
    elif version is None:
        _show(model, "shadow", as_json)
    else:
        wanted = {"version": version, "tolerance": tolerance}
        if percent is not None:
            wanted["percent"] = percent
        _begin(model, _made(Shadow, wanted), reason, as_json)


def _connect() -> tuple[Settings, Client]:
    from trivet.registry.client import connect

    settings = load_settings()
    return settings, connect(settings)


def _made(kind: type[Canary | Shadow], wanted: dict[str, Any]) -> State:
    from pydantic import ValidationError

    try:
        if "limits" in wanted:
            wanted["limits"] = Limits(**wanted["limits"])
        return kind(**wanted)
    except ValidationError as err:
        first = err.errors()[0]
        option = "--" + str(first["loc"][-1]).replace("_", "-")
        raise click.UsageError(f"{option}: {first['msg']}") from err


def _begin(model: str, state: State, reason: str, as_json: bool) -> None:
    from trivet.registry.canary import begin

    settings, client = _connect()
    gates = release_gates(settings, model, kind_of(state))
    done = begin(client, settings, model, state, gates, getpass.getuser(), reason)
    if as_json:
        print_json(asdict(done))
        return
    does = "is the canary" if isinstance(state, Canary) else "runs as shadow"
    share = f"{state.percent:g} % of the requests"
    out.print(f"{model}: version [bold]{state.version}[/] {does}, on {share}.", soft_wrap=True)


def _end(model: str, kind: Kind, reason: str, as_json: bool) -> None:
    from trivet.registry.canary import end

    settings, client = _connect()
    figures = _figures_of_live(settings, model, kind)
    report = None if figures is None else figures.model_dump(mode="json")
    done = end(client, settings, model, kind, getpass.getuser(), reason, report)
    if as_json:
        print_json(None if done is None else asdict(done))
    elif done is None:
        out.print(f"{model} has no {kind}.")
    else:
        out.print(f"{model}: the {kind} of version [bold]{done.tried}[/] has ended.")


def _show(model: str, kind: Kind, as_json: bool) -> None:
    from trivet.registry.canary import read_state
    from trivet.registry.ledger import read_chain

    settings, client = _connect()
    state = read_state(client, model, kind)
    shelf = Shelf(settings.home, model)
    figures = None if state is None else _figures(shelf, kind, state.entry or "")
    verdict = read_verdict(shelf.canary) if isinstance(state, Canary) else None
    broken = None if verdict is None or state is None or verdict.entry != state.entry else verdict
    last = next((e for e in reversed(read_chain(client, model)) if e.action == f"{kind}_end"), None)
    if as_json:
        print_json(
            {
                "state": None if state is None else state.model_dump(mode="json"),
                "figures": None if figures is None else _shown(figures),
                "set_back": None if broken is None else broken.sentence,
                "last_end": None if last is None else asdict(last),
            }
        )
        return
    if state is None or figures is None:
        out.print(f"{model} has no {kind}.{_before(last)}", soft_wrap=True, highlight=False)
        return
    rows = [*_state_rows(state), *_figure_rows(figures, kind)]
    if broken is not None:
        rows.append(("set back", f"[bold red]{escape(broken.sentence)}[/]"))
    shown = table(f"{model}: {kind}", ("of", "is"), rows, wraps=("is",))
    shown.show_header = False
    out.print(shown)


def _figures_of_live(settings: Settings, model: str, kind: Kind) -> Figures | None:
    shelf = Shelf(settings.home, model)
    live = shelf.read_live()
    state: State | None = None if live is None else getattr(live, kind)
    return None if state is None or state.entry is None else _figures(shelf, kind, state.entry)


def _figures(shelf: Shelf, kind: Kind, entry: str) -> Figures:
    return added_up((getattr(one, kind) for one in read_tallies(shelf.canary)), entry)


def _before(last: Release | None) -> str:
    if last is None:
        return ""
    ended = f" The last one, version {last.tried}, was ended at {local_time(last.at)}"
    return f"{ended} by {escape(last.who)}" + (f": {escape(last.reason)}" if last.reason else ".")


def _state_rows(state: State) -> Iterator[tuple[str, str]]:
    yield "version", str(state.version)
    yield "share", f"{state.percent:g} %"
    yield "since", "-" if state.since is None else local_time(state.since)
    if isinstance(state, Canary):
        kept = state.limits.model_dump(exclude_none=True)
        yield "limits", ", ".join(f"{name} {value:g}" for name, value in kept.items())
        if state.promote_after_seconds is not None:
            yield "promoted after", f"{state.promote_after_seconds:g} s"


def _figure_rows(figures: Figures, kind: Kind) -> Iterator[tuple[str, str]]:
    yield "requests", str(figures.requests)
    failures = ", ".join(f"{count} {how}" for how, count in sorted(figures.errors.items()))
    yield "failed", f"{figures.error_rate:.2%}" + (f" ({failures})" if failures else "")
    if kind == "shadow":
        yield "dropped", str(figures.dropped)
    yield "p99", _milliseconds(figures.took)
    if kind == "canary":
        yield "champion's p99", _milliseconds(figures.champion_took)
    yield "rows unlike", f"{figures.unlike} of {figures.rows} ({figures.divergence:.2%})"
    yield "mean difference", f"{figures.mean_difference:.4g}"


def _milliseconds(took: dict[int, int]) -> str:
    p99 = quantile(took, 0.99)
    return "-" if p99 is None else f"{1000 * p99:.2f} ms"


def _shown(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON: what is derived from them in place of the buckets."""
    p99, champion = quantile(figures.took, 0.99), quantile(figures.champion_took, 0.99)
    return {
        "requests": figures.requests,
        "errors": figures.errors,
        "error_rate": figures.error_rate,
        "dropped": figures.dropped,
        "rows": figures.rows,
        "unlike": figures.unlike,
        "divergence": figures.divergence,
        "mean_difference": figures.mean_difference,
        "p99_ms": None if p99 is None else 1000 * p99,
        "champion_p99_ms": None if champion is None else 1000 * champion,
    }


COMMANDS = (canary, shadow)
