"""Look a project over, in the order in which one part needs the other, and say what to do.

Nothing is changed. A part that does not answer ends what depends on it, not the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trivet.clock import Clock, system_clock
from trivet.contract import Contract
from trivet.errors import Difference, NoChampion, TrivetError
from trivet.live import Shelf
from trivet.overview import ModelState, read_models, read_service
from trivet.registry.client import connect
from trivet.registry.download import read_contract, verify
from trivet.registry.forced import last_forced
from trivet.registry.probe import describe, try_artifacts
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.registry.client import Client

DOWN = 3
"""Exit code of a check that found something that does not answer; 1: something is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's result."""

    check: str
    ok: bool
    detail: str
    todo: str | None = None
    """What to do; None where there is nothing to."""
    differences: tuple[Difference, ...] = ()
    exit_code: int = 0


def examine(settings: Settings, url: str, clock: Clock = system_clock) -> Iterator[Finding]:
    """Yield what each check finds, in order.

    Args:
        settings: of the project.
        url: of the service.
        clock: against which values expire.
    """
    yield Finding(check="project", ok=True, detail=str(settings.root))
    store: Any = None
    try:
        store, views = _open_features(settings)
        yield Finding(check="Feast", ok=True, detail=f"project {store.project}, {views} views")
    except TrivetError as err:
        yield _failed("Feast", err)
    models: tuple[ModelState, ...] = ()
    try:
        client = connect(settings)
        models = read_models(client, settings)
        detail = f"{describe(settings)}, released models: {len(models)}"
        yield Finding(check="MLflow", ok=True, detail=detail)
        yield _artifacts(client, settings)
    except TrivetError as err:
        yield _failed("MLflow", err)
    contracts: dict[str, Contract] = {}
    for model in models:
        yield _release(model)
        finding, contract = _live_contract(client, settings, store, model)
        yield finding
        yield from _copies(settings, model)
        if contract is not None:
            contracts[model.model] = contract
    if store is not None:
        yield from _online(store, settings, contracts, clock)
    yield _service(url, models)


def _failed(check: str, err: TrivetError) -> Finding:
    return Finding(
        check=check,
        ok=False,
        detail=err.sentence,
        todo=err.hint,
        exit_code=DOWN if err.exit_code == DOWN else 1,
    )


def _wrong(check: str, detail: str, todo: str, differences: tuple[Difference, ...] = ()) -> Finding:
    return Finding(
        check=check, ok=False, detail=detail, todo=todo, differences=differences, exit_code=1
    )


def _artifacts(client: Client, settings: Settings) -> Finding:
    try:
        return Finding(check="artifacts", ok=True, detail=try_artifacts(client, settings))
    except TrivetError as err:
        return _failed("artifacts", err)


def _open_features(settings: Settings) -> tuple[Any, int]:
    from trivet.features.freshness import online_views
    from trivet.features.store import open_store

    store = open_store(settings)
    return store, len(online_views(store))


def _release(model: ModelState) -> Finding:
    check = f"{model.model}: release"
    if model.interrupted:
        return _wrong(
            check,
            f"The release of version {model.champion} was interrupted.",
            "The next release, or a running service's follower, finishes it.",
        )
    if model.alias != model.champion:
        points = "is not set" if model.alias is None else f"points to version {model.alias}"
        return _wrong(
            check,
            f"By the ledger version {model.champion} is live, and the alias champion {points}.",
            "A running service accepts or refuses a moved alias; trivet promote settles it.",
        )
    return Finding(check=check, ok=True, detail=f"version {model.champion} is the champion")


def _live_contract(
    client: Client, settings: Settings, store: Any, model: ModelState
) -> tuple[Finding, Contract | None]:
    check = f"{model.model}: contract"
    try:
        contract = read_contract(client, model.model, model.champion)
        if contract.feature_service is None:
            return Finding(check=check, ok=True, detail="takes nothing from Feast"), None
        if store is None:
            return _wrong(check, "Feast does not answer.", "See above."), None
        return _compared(client, settings, check, contract), contract
    except TrivetError as err:
        return _failed(check, err), None


def _compared(client: Client, settings: Settings, check: str, contract: Contract) -> Finding:
    from trivet.features.offer import differences_from_feast

    differences = tuple(differences_from_feast(settings, contract))
    if not differences:
        return Finding(check=check, ok=True, detail=f"fits {contract.feature_service} in Feast")
    detail = f"{len(differences)} differences from what Feast has now"
    if (forced := last_forced(client, contract.project or "")) and contract.model in forced.broken:
        detail += f"; forced by {forced.who} on {forced.at:%Y-%m-%d}: {forced.reason}"
    todo = (
        "Restore the definitions (trivet apply), or release a version trained on the present ones."
    )
    return _wrong(check, detail, todo, differences)


def _copies(settings: Settings, model: ModelState) -> Iterator[Finding]:
    shelf = Shelf(settings.home, model.model)
    live = shelf.read_live()
    if live is None:
        return
    check = f"{model.model}: local copies"
    for one in live.versions:
        folder = shelf.path(one.digest)
        try:
            verify(folder, one.digest, f"version {one.version}")
        except TrivetError as err:
            shown = (
                folder.relative_to(settings.root)
                if folder.is_relative_to(settings.root)
                else folder
            )
            todo = f"Remove {shown}; a running service's follower brings it anew."
            yield _wrong(check, err.sentence, todo)
            return
    numbers = ", ".join(str(one.version) for one in live.versions)
    yield Finding(check=check, ok=True, detail=f"versions {numbers}, as their contracts say")


def _online(
    store: Any, settings: Settings, contracts: dict[str, Contract], clock: Clock
) -> Iterator[Finding]:
    from trivet.features.freshness import read_freshness

    for contract in contracts.values():
        yield _read(store, settings, contract, clock)
    needed = {view.name for contract in contracts.values() for view in contract.views}
    try:
        found = {one.view: one for one in read_freshness(store, clock())}
    except TrivetError as err:
        yield _failed("freshness", err)
        return
    dead = [n for n in sorted(needed) if n in found and found[n].state in {"stale", "never"}]
    if dead:
        states = ", ".join(f"{name} is {found[name].state}" for name in dead)
        yield _wrong(
            "freshness", states, "trivet materialize; if that brings nothing, see its source."
        )
        return
    late = [name for name in sorted(needed) if name in found and found[name].state == "late"]
    detail = f"{len(needed)} views of live versions within their TTL"
    yield Finding(
        check="freshness",
        ok=True,
        detail=detail,
        todo=f"trivet materialize brings newer values of {', '.join(late)}." if late else None,
    )


def _read(store: Any, settings: Settings, contract: Contract, clock: Clock) -> Finding:
    from trivet.features.reader import OnlineReader

    check = f"{contract.model}: online store"
    if not contract.golden:
        return Finding(check=check, ok=True, detail="not read: the contract has no golden row")
    row = contract.golden[0].request
    keys = {key.name: [row[key.name]] for key in contract.join_keys}
    try:
        OnlineReader(store, contract, settings.feature_timeout_seconds).read(keys, clock())
    except TrivetError as err:
        return _failed(check, err)
    return Finding(check=check, ok=True, detail="answers")


def _service(url: str, models: tuple[ModelState, ...]) -> Finding:
    state = read_service(url)
    if state.model is None:
        return Finding(
            check="service",
            ok=False,
            detail=f"Nothing of Trivet's answers at {url}.",
            todo="bentoml serve in the bento's folder; --url names another address.",
            exit_code=DOWN,
        )
    if state.champion is None:
        return _failed("service", NoChampion(state.model))
    if state.refused is not None:
        return _wrong(
            "service", state.refused, f"trivet history {state.model} shows what was asked."
        )
    ledger = next((one.champion for one in models if one.model == state.model), state.champion)
    if ledger != state.champion:
        detail = f"{state.model} answers by version {state.champion}, the ledger says {ledger}."
        return _wrong("service", detail, "Its log says what the follower waits for.")
    if not state.ready:
        return Finding(
            check="service",
            ok=False,
            detail=f"{state.model} is not ready.",
            todo="Its log says why; most often the online store.",
            exit_code=DOWN,
        )
    return Finding(
        check="service",
        ok=True,
        detail=f"{state.model} answers by version {state.champion} at {url}",
    )
