"""`trivet promote`, `rollback`: make another version answer, if the gates let it."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from trivet.cli.output import err, json_option, out, print_json, table
from trivet.errors import TrivetError
from trivet.gates import release_gates
from trivet.gates.features import feature_differences
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.contract import Contract
    from trivet.registry.client import Client
    from trivet.registry.gate import GateReport
    from trivet.registry.ledger import Release
    from trivet.registry.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])


def _release_options(function: F) -> F:
    """Give a command what every release takes."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Show plan and gates, and write nothing."),
        click.option("--force", is_flag=True, help="Release though gates refuse; needs --reason."),
        click.option("--reason", default="", help="Why; kept in the ledger."),
        json_option,
    ):
        function = option(function)
    return function


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@_release_options
def promote(  # noqa: PLR0917 - the command line's own
    model: str, version: int, dry_run: bool, force: bool, reason: str, as_json: bool
) -> None:
    """Make VERSION of MODEL the champion, if every gate lets it."""
    _check_usage(force=force, reason=reason)
    from trivet.registry.client import connect
    from trivet.registry.plan import plan_promotion

    settings = load_settings()
    client = connect(settings)
    plan = plan_promotion(client, model, version)
    _Release(settings, client, plan, as_json=as_json).run(reason, dry_run=dry_run, force=force)


@click.command()
@click.argument("model")
@click.option(
    "--steps", default=1, type=click.IntRange(min=1), help="How many releases to go back."
)
@_release_options
def rollback(  # noqa: PLR0917 - the command line's own
    model: str, steps: int, dry_run: bool, force: bool, reason: str, as_json: bool
) -> None:
    """Return to the version of MODEL that was champion before; twice goes back two."""
    _check_usage(force=force, reason=reason)
    from trivet.registry.client import connect
    from trivet.registry.plan import plan_rollback

    settings = load_settings()
    client = connect(settings)

    def fits(contract: Contract) -> bool:
        return not feature_differences(settings, contract)

    plan = plan_rollback(client, model, steps=steps, fits=fits)
    _Release(settings, client, plan, as_json=as_json).run(reason, dry_run=dry_run, force=force)


def _check_usage(*, force: bool, reason: str) -> None:
    if force and not reason.strip():
        raise click.UsageError("--force needs --reason: both are kept in the ledger.")


class _Release:
    """One release on its way: plan, gates, and what came of it."""

    def __init__(self, settings: Settings, client: Client, plan: Plan, *, as_json: bool) -> None:
        self._settings = settings
        self._client = client
        self._plan = plan
        self._as_json = as_json
        self._reports: list[GateReport] = []

    def run(self, reason: str, *, dry_run: bool, force: bool) -> None:
        """Release, or only look; print the plan, what each gate said, and the outcome."""
        if not self._as_json:
            for change in self._plan.changes:
                out.print(change, highlight=False, markup=False, soft_wrap=True)
        release = None
        try:
            if dry_run:
                self._look(force=force)
            else:
                release = self._apply(reason, force=force)
        except TrivetError as fault:
            self._show(None, "refused" if fault.exit_code == 1 else "failed")
            raise
        self._show(release, "dry run" if dry_run else "released")

    def _look(self, *, force: bool) -> None:
        from trivet.registry.release import rehearse

        with err.status("Asking the gates"):
            found = rehearse(
                self._client, self._settings, self._plan, self._gates(), self._reports.append
            )
        found.judge(force=force)

    def _apply(self, reason: str, *, force: bool) -> Release:
        from trivet.registry.release import apply

        with err.status("Asking the gates"):
            return apply(
                self._client,
                self._settings,
                self._plan,
                self._gates(),
                getpass.getuser(),
                reason,
                force=force,
                on_report=self._reports.append,
            )

    def _gates(self) -> Any:
        return release_gates(self._settings, self._plan.model, self._plan.action)

    def _show(self, release: Release | None, outcome: str) -> None:
        if self._as_json:
            print_json(
                {
                    "outcome": outcome,
                    "plan": self._plan.document(),
                    "gates": [report.document() for report in self._reports],
                    "release": None if release is None else asdict(release),
                }
            )
            return
        if self._reports:
            out.print(_gates_table(self._reports))
        if rows := list(_differences(self._reports)):
            out.print(table("", ("gate", "column", "what", "contract", "now"), rows))
        if outcome == "dry run":
            against = [report.gate for report in self._reports if not report.passed]
            forced = f" It would be forced past {', '.join(against)}." if against else ""
            out.print(f"Nothing was changed: --dry-run.{escape(forced)}")
        if release is not None:
            past = f", forced past {', '.join(release.forced)}" if release.forced else ""
            out.print(
                f"{escape(self._plan.model)}: version [bold]{release.to_version}[/] "
                f"is the champion{past}."
            )


def _gates_table(reports: Iterable[GateReport]) -> Table:
    """Lay out what each gate said; sentences wrap, as they may be long."""
    made = Table(title="Gates", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in ("gate", "", "seconds"):
        made.add_column(column, no_wrap=True, justify="right" if column == "seconds" else "left")
    made.add_column("what", overflow="fold")
    for report in reports:
        made.add_row(
            escape(report.gate),
            "[green]passed[/]" if report.passed else "[bold red]refused[/]",
            f"{report.seconds:.1f}",
            escape("\n".join(report.verdict.sentences)),
        )
    return made


def _differences(reports: Iterable[GateReport]) -> Iterable[tuple[str, ...]]:
    for report in reports:
        for each in report.verdict.differences:
            yield (
                escape(report.gate),
                escape(each.column),
                each.aspect,
                escape(each.contract),
                escape(each.feast),
            )


COMMANDS = (promote, rollback)
