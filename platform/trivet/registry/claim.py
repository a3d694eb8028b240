"""Write a release to the ledger, so that of many at once exactly one wins and none is half done.

    run started -> claim: its predecessor's `successor` -> alias moved or tag set -> run finished

Whoever dies after the claim leaves an entry that is not finished. The next command finishes it;
doing so twice, or while its owner still lives, changes nothing.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trivet.canary.state import TAGS, Kind, parse_state, to_tag
from trivet.errors import ReleaseConflict, ReleaseRefused, TrivetError, UnknownModel
from trivet.registry.client import ensure_experiment, find_experiment, translated
from trivet.registry.failures import WRONG_NAME
from trivet.registry.ledger import (
    GENESIS_TAG,
    SUCCESSOR,
    Action,
    Release,
    experiment_name,
    read_genesis,
    read_release,
)
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
"""The alias that says which version answers."""

_OPENINGS = "trivet/releases"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A release as it is to be written."""

    model: str
    action: Action
    from_version: int | None
    to_version: int | None
    steps: int
    who: str
    reason: str
    at: datetime
    report: Mapping[str, object]
    """What each gate said, as JSON; becomes the run's `gates.json`."""
    forced: tuple[str, ...] = ()
    """The gates that refused, and were forced."""
    gates_seconds: float | None = None
    tried: int | None = None
    """The version of a canary or shadow, whose entry releases none."""
    state: str | None = None
    """What a canary or shadow begins with; None where it ends."""


def open_ledger(client: MlflowClient, settings: Settings, model: str, at: datetime) -> Release:
    """Return the ledger's first entry, made where there is none.

    The entry is written first, and the experiment is made with a tag that names it, in one step and
    under a name that only one can have: a ledger is never without its first entry.

    Raises:
        ReleaseRefused: an experiment of that name is not a ledger.
        UnknownModel: the ledger was deleted.
        RegistryUnavailable: MLflow does not answer.
    """
    if (found := find_experiment(client, experiment_name(model))) is not None:
        return read_release(client, read_genesis(client, found, model))
    home = ensure_experiment(client, settings, _OPENINGS)
    with translated(client):
        began = int(at.timestamp() * 1000)
        run = client.create_run(home, began, tags=_author(""), run_name=f"open {model}")
        mine = str(run.info.run_id)
        _log_params(client, mine, {"action": "open", "sequence": "0"})
        client.set_terminated(mine)
    experiment = ensure_experiment(client, settings, experiment_name(model), {GENESIS_TAG: mine})
    genesis = read_genesis(client, experiment, model)
    if genesis != mine:
        # Harmless if it stays: whoever may write runs on a server may not always delete them.
        with suppress(TrivetError), translated(client):
            client.delete_run(mine)
    return read_release(client, genesis)


def ask_leave(client: MlflowClient, model: str) -> None:
    """See that this account may move the model's alias, before anything stands in the ledger.

    Whoever may only read may still make experiments on a server with accounts. They would claim a
    release that they cannot carry out, and somebody else's follower would finish it for them.

    Raises:
        RegistryDenied: it may not.
        RegistryUnavailable: MLflow does not answer.
    """
    # Needs the same permission, and does nothing: a tag of that name is never set.
    with suppress(UnknownModel), translated(client):
        client.delete_registered_model_tag(model, "trivet.may_release")


def write(client: MlflowClient, settings: Settings, entry: Entry, after: Release) -> Release:
    """Write an entry behind `after`, move the alias, and return the finished entry.

    Raises:
        ReleaseConflict: somebody else's release came behind `after` first.
        RegistryUnavailable: MLflow does not answer; the next command finishes what was claimed.
    """
    _refuse_late(client, entry.model, read_release(client, after.run_id))
    run_id = _start(client, settings, entry, after)
    winner = _claim(client, after, run_id)
    if winner != run_id:
        _lose(client, run_id, winner)
        _refuse_late(client, entry.model, read_release(client, after.run_id))
    return finish(client, entry.model, read_release(client, run_id))


def finish(client: MlflowClient, model: str, release: Release) -> Release:
    """Carry out what a claimed entry says, and mark it as finished. May be repeated at will.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    try:
        if release.tried is None:
            _settle_alias(client, model, release)
        else:
            settle_tag(client, model, release)
    except UnknownModel as err:
        # Without this, a version deleted in the wrong moment would block the ledger for ever.
        _log.warning("The alias or tag of %s was not set: %s", model, err)
    with translated(client):
        client.set_terminated(release.run_id)
    return read_release(client, release.run_id)


def _settle_alias(client: MlflowClient, model: str, release: Release) -> None:
    # MLflow has no compare-and-set for an alias. Each writer reads the ledger again *after* its
    # write, and writes anew if an entry came in between: so the last write of all says what the
    # ledger says.
    head: Release | None = newest_of(client, release, _releases)
    while head is not None:
        with translated(client, f"{model} has no version {head.to_version} any more."):
            _point(client, model, str(head.to_version))
        newest = newest_of(client, head, _releases)
        head = None if newest.run_id == head.run_id else newest


def _point(client: MlflowClient, model: str, version: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.set_registered_model_alias(model, CHAMPION, version)
    except MlflowException as err:
        # Of two that set an alias for the first time at once, the database refuses one; by now it is
        # there and can be changed.
        if err.error_code != "BAD_REQUEST":
            raise
        client.set_registered_model_alias(model, CHAMPION, version)


def settle_tag(client: MlflowClient, model: str, entry: Release) -> None:
    """Set or remove the tag of a canary or shadow, as the newest entry about it says."""
    kind: Kind = "canary" if entry.action.startswith("canary") else "shadow"
    head: Release | None = newest_of(client, entry, lambda one: one.action.startswith(kind))
    while head is not None:
        with translated(client, f"MLflow has no model {model} any more."):
            if head.state is None:
                client.delete_registered_model_tag(model, TAGS[kind])
            else:
                begun = {"entry": head.run_id, "since": head.at}
                state = parse_state(kind, head.state).model_copy(update=begun)
                client.set_registered_model_tag(model, TAGS[kind], to_tag(state))
        newest = newest_of(client, head, lambda one: one.action.startswith(kind))
        head = None if newest.run_id == head.run_id else newest


def _releases(entry: Release) -> bool:
    return entry.to_version is not None


def newest_of(client: MlflowClient, first: Release, counts: Callable[[Release], bool]) -> Release:
    """Return the newest entry that counts, from one that does on."""
    newest = entry = read_release(client, first.run_id)
    while entry.successor is not None:
        entry = read_release(client, entry.successor)
        if counts(entry):
            newest = entry
    return newest


def _start(client: MlflowClient, settings: Settings, entry: Entry, after: Release) -> str:
    experiment = ensure_experiment(client, settings, experiment_name(entry.model))
    with translated(client):
        run = client.create_run(
            experiment,
            int(entry.at.timestamp() * 1000),
            tags=_author(entry.who),
            run_name=f"{entry.action} {entry.to_version or entry.tried}",
        )
    run_id = str(run.info.run_id)
    try:
        with translated(client):
            _log_params(client, run_id, _params(entry, after))
            client.log_dict(run_id, dict(entry.report), _report_name(entry))
    except Exception:
        with suppress(TrivetError), translated(client):
            client.set_terminated(run_id, "FAILED")
        raise
    return run_id


def _params(entry: Entry, after: Release) -> dict[str, str]:
    params = {
        "action": entry.action,
        "previous": after.run_id,
        "sequence": str(after.sequence + 1),
        "steps": str(entry.steps),
    }
    versions = {
        "from_version": entry.from_version,
        "to_version": entry.to_version,
        "tried": entry.tried,
    }
    params |= {name: str(number) for name, number in versions.items() if number is not None}
    if entry.gates_seconds is not None:
        params["gates_seconds"] = f"{entry.gates_seconds:.3f}"
    texts = {
        "reason": entry.reason,
        "state": entry.state,
        "forced": ", ".join(entry.forced),
    }
    return params | {name: text for name, text in texts.items() if text}


def _report_name(entry: Entry) -> str:
    return "figures.json" if entry.action.endswith("_end") else "gates.json"


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])


def _author(who: str) -> dict[str, str]:
    return {"trivet.who": who, "trivet.host": socket.gethostname()}


def _claim(client: MlflowClient, after: Release, run_id: str) -> str:
    from mlflow.exceptions import MlflowException

    with translated(client):
        try:
            client.log_param(after.run_id, SUCCESSOR, run_id)
        except MlflowException as err:
            # Lost, or won and the answer was lost: the parameter itself knows.
            winner = read_release(client, after.run_id).successor
            if winner is None and err.error_code not in WRONG_NAME:
                raise
            if winner is None:
                raise ReleaseRefused(
                    f"The ledger's run {after.run_id} takes no successor: {err.message}",
                    hint=f"If deleted, restore it: mlflow runs restore --run-id {after.run_id}.",
                ) from err
            return winner
    return run_id


def _lose(client: MlflowClient, run_id: str, winner: str) -> None:
    with translated(client):
        client.set_tag(run_id, "trivet.lost_to", winner)
        client.set_terminated(run_id, "KILLED")


def _refuse_late(client: MlflowClient, model: str, after: Release) -> None:
    if after.successor is None:
        return
    winner = read_release(client, after.successor)
    done = "released" if winner.tried is None else "wrote to the ledger of"
    raise ReleaseConflict(
        f"{winner.who or 'Somebody'} {done} version {winner.to_version or winner.tried} of {model} "
        f"first ({winner.action}, {winner.at:%Y-%m-%d %H:%M:%S} UTC).",
        hint=f"Nothing was changed. Look at it (trivet history {model}), then decide anew.",
    )
