"""`trivet features`: what is known about one entity, and since when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from trivet.cli.logs import KeyValue, Moment
from trivet.cli.output import err, json_option, local_time, out, print_json, table
from trivet.cli.services import live_contract
from trivet.clock import system_clock
from trivet.columns import from_json
from trivet.errors import BadSetting
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trivet.contract import JoinKey, View
    from trivet.features.entity import Found, Readable, Store

_STYLES = {"present": "", "expired": "yellow", "null": "yellow", "missing": "red"}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_TRUTHS = {"true": True, "false": False}


@click.command()
@click.argument("keys", nargs=-1, required=True, type=KeyValue(), metavar="KEY=VALUE...")
@click.option("--service", help="Only what this feature service of Feast reads.")
@click.option("--model", help="Only what the live version of this model reads.")
@click.option("--offline", is_flag=True, help="From the offline store instead of the online one.")
@click.option("--at", type=Moment(), help="As of this moment: 10m ago, or ISO 8601. Offline only.")
@json_option
def features(
    keys: tuple[tuple[str, str], ...],
    *,
    service: str | None,
    model: str | None,
    offline: bool,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Read the features of one entity, with the moments at which they were known and their ages.

    Views whose join keys are not all given are left out.
    """
    from trivet.features.entity import read_offline, read_online

    if at is not None and not offline:
        raise click.UsageError("--at needs --offline: the online store has the present only.")
    if service is not None and model is not None:
        raise click.UsageError("--service and --model say the same in two ways: give one.")
    store, everything = _open(load_settings(), service, model)
    wanted = everything.by(dict(keys))
    typed = _typed(keys, wanted.join_keys)
    moment = at or system_clock()
    found = (read_offline if offline else read_online)(store, wanted, typed, moment)
    left_out = [view for view in everything.views if view not in wanted.views]
    if as_json:
        print_json(_document(store.project, typed, moment, found, left_out, offline=offline))
        return
    where = f"offline as of {local_time(moment)}" if offline else "online"
    shown = " ".join(f"{name}={value}" for name, value in keys)
    columns = ("view", "feature", "value", "status", "known at", "age", "TTL")
    out.print(table(escape(f"{shown}: {where}"), columns, [_row(one) for one in found]))
    for view in left_out:
        needs = ", ".join(name for name in view.join_keys if name not in typed)
        err.print(f"{view.name} is left out: it also needs {needs}.", style="dim", highlight=False)


def _open(settings: Settings, service: str | None, model: str | None) -> tuple[Store, Readable]:
    from trivet.features.entity import readable, readable_of
    from trivet.features.store import open_store

    if model is None:
        store = open_store(settings)
        return store, readable(store, service)
    contract = live_contract(settings, model, None)
    if contract.feature_service is None:
        raise BadSetting(f"The live version of {model} takes no features from Feast.")
    return open_store(settings, contract.project), readable_of(contract)


def _typed(keys: Sequence[tuple[str, str]], join_keys: Sequence[JoinKey]) -> dict[str, Any]:
    """Return the values in their join keys' dtypes.

    Raises:
        BadSetting: one does not fit.
    """
    dtypes = {key.name: key.dtype for key in join_keys}
    typed = {}
    for name, text in keys:
        try:
            typed[name] = _value(dtypes[name], text)
        except ValueError as cause:
            raise BadSetting(
                f"{name} is of dtype {dtypes[name]}, and {text!r} is not: {cause}."
            ) from cause
    return typed


def _value(dtype: Any, text: str) -> Any:
    if dtype == "int64":
        return from_json(dtype, int(text))
    if dtype == "float64":
        return from_json(dtype, float(text))
    return from_json(dtype, _TRUTHS.get(text, text) if dtype == "bool" else text)


def _document(
    project: str,
    keys: Mapping[str, Any],
    moment: datetime,
    found: Sequence[Found],
    left_out: Sequence[View],
    *,
    offline: bool,
) -> dict[str, Any]:
    return {
        "project": project,
        "keys": keys,
        "store": "offline" if offline else "online",
        "at": moment,
        "features": [asdict(one) for one in found],
        "left_out": [{"view": view.name, "needs": view.join_keys} for view in left_out],
    }


def _row(one: Found) -> tuple[str, ...]:
    style = _STYLES[one.status]
    return (
        escape(one.view),
        escape(one.feature),
        "-" if one.value is None else escape(str(one.value)),
        f"[{style}]{one.status}[/]" if style else one.status,
        "-" if one.event_time is None else local_time(one.event_time),
        "-" if one.age_seconds is None else _span(one.age_seconds),
        "never" if one.ttl_seconds is None else _span(one.ttl_seconds),
    )


def _span(seconds: float) -> str:
    """Return a span of time in its largest unit.

    >>> _span(5400.0)
    '1.5 h'
    """
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.3g} s"


COMMANDS = (features,)
