"""How replicas look on a terminal: a row each, with what they have answered lately."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from trivet.cli.output import local_time, table

if TYPE_CHECKING:
    from trivet.gateway.state import ModelState, ReplicaState, State
    from trivet.observe.scrape import Durations

_COLUMNS = (
    *("replica", "state", "ver-\nsion", "requests"),
    *("p50\nms", "p95\nms", "p99\nms"),
    *("in\nflight", "re-\nstarts"),
)
_STYLES = {"ready": "green", "failed": "bold red", "waiting": "red", "not ready": "yellow"}
_PATIENCE_SECONDS = 2.0
_MILLION = 1_000_000
_SHARES = (0.5, 0.95, 0.99)
_NAMES = ("p50", "p95", "p99")


@dataclass(slots=True)
class Latencies:
    """Quantiles of each replica's answers: since it started, or since the last look."""

    window: bool
    """Whether each look is about what came since the one before."""
    _last: dict[tuple[str, int], Durations] = field(default_factory=dict)

    def look(self, state: State) -> Mapping[tuple[str, str], tuple[float, ...]]:
        """Return p50, p95 and p99 in seconds, by model and replica; of those that answered anything."""
        found = {}
        for model in state.models:
            for replica in model.replicas:
                if replica.port is None or replica.pid is None:
                    continue
                total = _answered(replica.port, model.name)
                if total is None:
                    continue
                before = self._last.get((model.name, replica.pid))
                self._last[model.name, replica.pid] = total
                part = total.since(before) if self.window and before is not None else total
                if part.count:
                    quantiles = tuple(part.quantile(share).seconds for share in _SHARES)
                    found[model.name, replica.name] = quantiles
        return found


def gateway_document(
    state: State, latencies: Mapping[tuple[str, str], tuple[float, ...]]
) -> dict[str, Any]:
    """Return the same for programs: the state, with `quantiles_seconds` of each replica or null."""
    document = state.model_dump(mode="json")
    for model in document["models"]:
        for replica in model["replicas"]:
            found = latencies.get((model["name"], replica["name"]))
            replica["quantiles_seconds"] = found and dict(zip(_NAMES, found, strict=True))
    return document


def gateway_view(
    state: State, latencies: Mapping[tuple[str, str], tuple[float, ...]]
) -> RenderableType:
    """Lay out all that runs behind the gateway."""
    ending = "; ending" if state.ending else ""
    parts: list[RenderableType] = [
        Text(f"Gateway {state.url}, up since {local_time(state.since)}{ending}", style="bold"),
        Text(f"HAProxy's own page and metrics: {state.stats_url}"),
    ]
    for model in state.models:
        shown = table(_title(model), _COLUMNS, _rows(model, latencies))
        for number, column in enumerate(shown.columns):
            column.justify = "left" if number < 2 else "right"  # noqa: PLR2004 - name and state
        parts.append(shown)
        parts += [Text(line, style="yellow") for line in _faults(model.replicas)]
        parts += [Text(line, style="dim") for line in _decisions(model)]
    return Group(*parts)


def _title(model: ModelState) -> str:
    balance = model.balance.replace("_", " ")
    scaled = "" if model.least is None else f", scaled between {model.least} and {model.most}"
    many = "1 replica" if model.wanted == 1 else f"{model.wanted} replicas"
    each = "1 worker" if model.workers == 1 else f"{model.workers} workers"
    return f"{escape(model.name)}: {many} of {each}, {balance}{scaled}"


def _rows(
    model: ModelState, latencies: Mapping[tuple[str, str], tuple[float, ...]]
) -> Iterator[tuple[str, ...]]:
    for replica in model.replicas:
        if replica.state == "off":
            continue
        quantiles = latencies.get((model.name, replica.name))
        style = _STYLES.get(replica.state, "cyan")
        yield (
            replica.name,
            f"[{style}]{replica.state}[/]",
            "-" if replica.version is None else str(replica.version),
            _count(replica.requests),
            *("-" for _ in _SHARES if quantiles is None),
            *(_milliseconds(seconds) for seconds in quantiles or ()),
            str(replica.in_flight),
            str(replica.restarts),
        )


def _count(number: int) -> str:
    return f"{number:,}" if number < _MILLION else f"{number / _MILLION:.2f} M"


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - three digits


def _faults(replicas: Iterable[ReplicaState]) -> Iterator[str]:
    for replica in replicas:
        if replica.why is not None and replica.state != "off":
            yield f"{replica.name} {replica.why}, see {replica.log}"


def _decisions(model: ModelState) -> Iterator[str]:
    if model.load:
        yield f"autoscaling: {model.load}"
    for one in model.decisions[-3:]:
        yield f"  {local_time(one.at)}  {one.before} -> {one.wanted}  {one.why}"


def _answered(port: int, model: str) -> Durations | None:
    """Return how long a replica's answers have taken since its start; None: it has given none."""
    from trivet.errors import MetricsUnreadable, NoTraffic
    from trivet.observe.scrape import read_traffic

    try:
        answer = httpx.get(
            f"http://127.0.0.1:{port}/metrics", timeout=_PATIENCE_SECONDS, trust_env=False
        )
        return read_traffic(answer.text, model).total
    except (httpx.HTTPError, MetricsUnreadable, NoTraffic):
        return None
