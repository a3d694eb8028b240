"""`trivet apply`: bring the feature definitions into Feast's registry, if nothing live breaks."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from trivet.cli.output import err, json_option, out, print_json, table
from trivet.settings import load_settings

if TYPE_CHECKING:
    from trivet.applying import Impact
    from trivet.features.apply import FeaturePlan
    from trivet.features.changes import Change

_SIGNS = {"created": "[green]+[/]", "updated": "[yellow]~[/]", "deleted": "[red]-[/]"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Show it, and change nothing.")
@click.option("--force", is_flag=True, help="Apply even if a live version breaks; needs --reason.")
@click.option("--reason", help="Why a live version may break; kept in MLflow.")
@json_option
def apply(dry_run: bool, force: bool, reason: str | None, as_json: bool) -> None:
    """Show what the feature definitions change and break in Feast; apply them if nothing live breaks.

    Breaking the champion of a model is refused with exit code 1; `feast apply` refuses nothing.
    """
    if force and not (reason and reason.strip()):
        raise click.UsageError(
            "--force needs --reason: it is kept, and read when something breaks."
        )
    from trivet.applying import apply_planned, broken_champions, read_impacts
    from trivet.features.apply import plan_features
    from trivet.features.lock import writing_features
    from trivet.features.store import open_store
    from trivet.registry.client import connect

    settings = load_settings()
    client = connect(settings)
    store = open_store(settings)
    with nullcontext() if dry_run else writing_features(store, settings, _say_waiting):
        plan = plan_features(store, settings)
        impacts = read_impacts(client, settings, plan)
        if not as_json:
            _show(plan, impacts)
        refused = bool(broken_champions(impacts)) and not force
        applied = bool(plan.changes) and not dry_run and not refused
        if as_json:
            print_json(_document(plan, impacts, applied=applied))
        if (plan.changes and not dry_run) or refused:
            given = reason if force else None
            apply_planned(client, settings, plan, impacts, who=getpass.getuser(), reason=given)
    if not as_json:
        out.print(_outcome(plan, applied=applied))


def _say_waiting() -> None:
    err.print("Waiting: another process materializes or applies features.", style="dim")


def _document(plan: FeaturePlan, impacts: Sequence[Impact], *, applied: bool) -> dict[str, object]:
    return {
        "project": plan.project,
        "applied": applied,
        "changes": [asdict(change) for change in plan.changes],
        "versions": [{**asdict(impact), "breaks": impact.breaks} for impact in impacts],
    }


def _show(plan: FeaturePlan, impacts: Sequence[Impact]) -> None:
    for change in plan.changes:
        out.print(f"{_SIGNS[change.action]} {change.kind} [bold]{escape(change.name)}[/]")
        for line in _lines(change):
            out.print(f"    {escape(line)}", highlight=False)
    broken = [impact for impact in impacts if impact.differences]
    if broken:
        columns = ("version", "is", "column", "what", "contract", "Feast then", "")
        out.print(table("Registered versions that would not fit", columns, _rows(broken)))
    for impact in impacts:
        if impact.unreadable:
            err.print(f"{impact.name} was not compared: {impact.unreadable}", style="yellow")
    if impacts and not broken and plan.changes:
        out.print(f"All {len(impacts)} registered versions on {plan.project} fit.")


def _lines(change: Change) -> Iterator[str]:
    for each in change.properties:
        if each.before and each.after:
            yield f"{each.name}: {each.before} -> {each.after}"
        else:
            yield f"{each.name}: {each.before or each.after or 'changed'}"


def _rows(broken: Sequence[Impact]) -> Iterator[tuple[str, ...]]:
    for impact in broken:
        for each in impact.differences:
            yield (
                escape(f"{impact.model} {impact.version}"),
                f"[bold red]{impact.standing}[/]"
                if impact.standing == "champion"
                else impact.standing,
                escape(each.column),
                each.aspect,
                escape(each.contract),
                escape(each.feast),
                "already" if each in impact.already else "",
            )


def _outcome(plan: FeaturePlan, *, applied: bool) -> str:
    if not plan.changes:
        return f"Feast's registry has what the definitions of {plan.project} say."
    if not applied:
        return "Nothing was changed: --dry-run."
    lines = [f"Applied to {plan.project}."]
    if grown := [change.name for change in plan.changes if change.backfill]:
        views = " ".join(grown)
        lines.append(
            "What is online already lacks the new features until its next value comes; "
            f"trivet materialize --again {views} brings them now."
        )
    return "\n".join(lines)


COMMANDS = (apply,)
