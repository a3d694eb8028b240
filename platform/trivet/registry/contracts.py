"""The contract that a logged row was answered by: this host's copy, or the registry's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trivet.contract import Contract, parse_contract
from trivet.errors import ContractUnreadable, UnknownModel
from trivet.live import CONTRACT, Shelf
from trivet.registry.client import connect, require_database
from trivet.registry.download import read_contract
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Contracts:
    """Finds a model's contracts; MLflow is asked only for those that this host has no copy of."""

    def __init__(self, settings: Settings, model: str) -> None:
        """Nothing is read yet."""
        self._settings = settings
        self._model = model
        self._shelf = Shelf(settings.home, model)
        self._client: MlflowClient | None = None

    def find(self, version: int, digest: str) -> Contract:
        """Return the contract with a digest, of which a version was registered.

        Raises:
            UnknownModel: neither this host nor MLflow has it any more.
            RegistryUnavailable: this host has no copy, and MLflow does not answer.
        """
        return self._here(digest) or self._registered(version, digest)

    def _here(self, digest: str) -> Contract | None:
        try:
            found = parse_contract((self._shelf.path(digest) / CONTRACT).read_bytes())
        except (OSError, ContractUnreadable):
            return None
        return found if found.digest == digest else None

    def _registered(self, version: int, digest: str) -> Contract:
        if self._client is None:
            require_database(self._settings)
            self._client = connect(self._settings)
        try:
            found = read_contract(self._client, self._model, version)
        except ContractUnreadable as err:
            raise UnknownModel(f"{self._model} version {version}: {err}") from err
        if found.digest != digest:
            raise UnknownModel(
                f"{self._model} version {version} is another one than what answered: its contract is "
                f"{found.digest[:12]}, not {digest[:12]}."
            )
        return found
