"""What stands where: the service, the registry's models and their releases, read without judging."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from trivet.live import Shelf
from trivet.registry import ledger
from trivet.registry.standing import model_names
from trivet.registry.versions import read_aliases
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.registry.client import Client

_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What the service at an address says of itself; `model` is None where nothing answers."""

    url: str
    ready: bool = False
    model: str | None = None
    champion: int | None = None
    versions: tuple[int, ...] = ()
    refused: str | None = None
    features: dict[str, Any] | None = None
    """What its follower found of the live contract, as `GET /status` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One registered model that has been released."""

    model: str
    champion: int
    """By the ledger."""
    alias: int | None
    """Where MLflow's alias `champion` points."""
    interrupted: bool
    """Whether the newest release has not been finished."""
    here: int | None
    """The champion by this host's live state; None where nobody follows the model."""


def is_here(url: str) -> bool:
    """Say whether an address is this machine's own, which no proxy of the environment's leads to."""
    host = httpx.URL(url).host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def read_service(url: str) -> ServiceState:
    """Ask a service for its state; whatever goes wrong, it is one that does not answer."""
    try:
        with httpx.Client(
            base_url=url, timeout=_PATIENCE_SECONDS, trust_env=not is_here(url)
        ) as client:
            status = client.get("/status").raise_for_status().json()
            return ServiceState(
                url=url,
                ready=client.get("/readyz").is_success,
                model=str(status["model"]),
                champion=status["champion"],
                versions=tuple(status["versions"]),
                refused=status["refused"],
                features=status.get("features"),
            )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return ServiceState(url=url)


def read_models(client: Client, settings: Settings) -> tuple[ModelState, ...]:
    """Return every model with at least one release, by the ledger and by its alias.

    Raises:
        RegistryUnavailable: MLflow does not answer.
        ReleaseRefused, UnknownModel: a model's ledger is not one, or was deleted.
    """
    found = []
    for model in model_names(client):
        chain = ledger.read_chain(client, model)
        newest = ledger.last(chain)
        if newest is None:
            continue
        live = Shelf(settings.home, model).read_live()
        found.append(
            ModelState(
                model=model,
                champion=ledger.stack(chain)[-1],
                alias=read_aliases(client, model).get("champion"),
                interrupted=ledger.unfinished(chain) is not None,
                here=None if live is None else live.champion,
            )
        )
    return tuple(found)
