"""The ledger of a model's releases, read: which version answered, since when, and by whose hand.

Each release is a run in MLflow's experiment `trivet/releases/<model>`. The parameter `successor` of
a release names the next one. A parameter is write-once in MLflow, so the runs form one chain,
whoever writes at the same time; a run outside the chain lost its claim and never was a release. The
experiment's tag `trivet.genesis`, set as the experiment is made, names the chain's first entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast

from trivet.canary.state import Kind
from trivet.errors import ReleaseRefused
from trivet.registry.client import find_experiment, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

GENESIS_TAG = "trivet.genesis"
SUCCESSOR = "successor"

Action = Literal[
    "open", "promote", "rollback", "accept", "canary", "canary_end", "shadow", "shadow_end"
]
"""`open` begins a ledger; `accept` is a release that somebody made by moving the alias by hand. The
last four release nothing: a version begins to run beside the champion, or ends."""

RELEASING: frozenset[Action] = frozenset({"promote", "rollback", "accept"})
"""The actions after which another version answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One entry of the chain."""

    run_id: str
    sequence: int
    action: Action
    from_version: int | None
    to_version: int | None
    """None for an entry that releases nothing: `open`, and those of canary and shadow."""
    steps: int
    """How many releases a rollback takes back."""
    who: str
    reason: str
    at: datetime
    finished: bool
    """False: it stands in the ledger, and its alias may not have been moved yet."""
    successor: str | None
    forced: tuple[str, ...] = ()
    """The gates that refused it, and were forced."""
    gates_seconds: float | None = None
    """How long the gates took; None where it is not known."""
    seconds: float | None = None
    """How long it took in all, from its first gate until the alias had moved."""
    tried: int | None = None
    """The version that a canary or a shadow is about."""
    state: str | None = None
    """What a canary or a shadow began with, as its tag has it."""


def experiment_name(model: str) -> str:
    """Return the name of the MLflow experiment that holds a model's releases."""
    return f"trivet/releases/{model}"


def read_chain(client: MlflowClient, model: str) -> tuple[Release, ...]:
    """Return the entries of the ledger, oldest first; none before the first release.

    Raises:
        ReleaseRefused: the experiment is not a ledger.
        UnknownModel: it was deleted, or a run of the chain was removed for good.
        RegistryUnavailable: MLflow does not answer.
    """
    experiment = find_experiment(client, experiment_name(model))
    if experiment is None:
        return ()
    # A run without parameters is about to get them, and is not in the chain before that.
    runs = (run for run in _runs(client, experiment) if "action" in run.data.params)
    known = {run.info.run_id: release_of(run) for run in runs}

    def look_up(run_id: str) -> Release:
        return known.get(run_id) or read_release(client, run_id)

    return follow(read_genesis(client, experiment, model), look_up)


def stack(chain: Iterable[Release]) -> tuple[int, ...]:
    """Replay the chain: a promotion pushes its version, a rollback takes versions off.

    The last one is the champion, the one below it the version that a rollback returns to.
    """
    versions: list[int] = []
    for entry in chain:
        if entry.action == "rollback":
            del versions[max(len(versions) - entry.steps, 0) :]
        elif entry.to_version is not None:
            versions.append(entry.to_version)
    return tuple(versions)


def follow(genesis: str, look_up: Callable[[str], Release]) -> tuple[Release, ...]:
    """Return the entries from `genesis` on, each found by its predecessor's `successor`."""
    chain = [look_up(genesis)]
    while (successor := chain[-1].successor) is not None:
        chain.append(look_up(successor))
    return tuple(chain)


def last(chain: Sequence[Release]) -> Release | None:
    """Return the newest entry that releases a version, or None."""
    return next((entry for entry in reversed(chain) if entry.to_version is not None), None)


def unfinished(chain: Sequence[Release]) -> Release | None:
    """Return the newest entry if it was not carried out yet; those before it are, whatever they are."""
    return chain[-1] if chain and not chain[-1].finished else None


def running(chain: Sequence[Release], kind: Kind) -> Release | None:
    """Return the entry that began the canary or shadow which runs by the ledger, or None.

    A release ends both: what they were compared with is gone.
    """
    for entry in reversed(chain):
        if entry.to_version is not None or entry.action == f"{kind}_end":
            return None
        if entry.action == kind:
            return entry
    return None


def answering_at(chain: Iterable[Release], moment: datetime) -> Release | None:
    """Return the release by which a version answered at a moment; None before the first one."""
    past = [entry for entry in chain if entry.at <= moment and entry.action in RELEASING]
    return past[-1] if past else None


def read_release(client: MlflowClient, run_id: str) -> Release:
    """Return one entry as it is now; also one whose run was deleted and can be restored.

    Raises:
        UnknownModel: the run was removed for good.
        RegistryUnavailable: MLflow does not answer.
    """
    with translated(client, f"The ledger's run {run_id} was removed from MLflow for good."):
        return release_of(client.get_run(run_id))


def read_genesis(client: MlflowClient, experiment: str, model: str) -> str:
    """Return the run id of the first entry of the ledger in this experiment.

    Raises:
        ReleaseRefused: the experiment was made by somebody else and is not a ledger.
        RegistryUnavailable: MLflow does not answer.
    """
    with translated(client):
        genesis = client.get_experiment(experiment).tags.get(GENESIS_TAG)
    if genesis is None:
        name = experiment_name(model)
        raise ReleaseRefused(
            f"MLflow's experiment {name} is not a ledger: it has no tag {GENESIS_TAG}.",
            hint="Rename that experiment; the first release makes a new one.",
        )
    return str(genesis)


def release_of(run: Run) -> Release:
    """Read a ledger run as an entry."""
    params, tags = run.data.params, run.data.tags
    took = params.get("gates_seconds")
    gates_seconds = None if took is None else float(took)
    return Release(
        run_id=run.info.run_id,
        sequence=int(params["sequence"]),
        action=cast("Action", params["action"]),
        from_version=_version(params.get("from_version")),
        to_version=_version(params.get("to_version")),
        steps=int(params.get("steps", 1)),
        who=tags.get("trivet.who", ""),
        reason=params.get("reason", ""),
        at=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        finished=run.info.status == "FINISHED",
        successor=params.get(SUCCESSOR),
        forced=tuple(name for name in params.get("forced", "").split(", ") if name),
        gates_seconds=gates_seconds,
        seconds=_total(run, gates_seconds),
        tried=_version(params.get("tried")),
        state=params.get("state"),
    )


def _total(run: Run, gates_seconds: float | None) -> float | None:
    # The run begins when the gates have passed: that is when what answers changes.
    if gates_seconds is None or run.info.end_time is None:
        return None
    written = max(int(run.info.end_time) - int(run.info.start_time), 0) / 1000
    return round(gates_seconds + written, 3)


def _version(text: str | None) -> int | None:
    return None if text is None else int(text)


def _runs(client: MlflowClient, experiment: str) -> Iterable[Run]:
    token: str | None = None
    with translated(client):
        while True:
            page = client.search_runs([experiment], page_token=token)
            yield from page
            token = page.token
            if not token:
                return
