"""What a host serves: local copies of versions, and the live state that names them.

    <home>/models/<model>/versions/<digest>/   one folder a version, complete or not there
    <home>/models/<model>/live.json            which of them answer, replaced as a whole
    <home>/models/<model>/features.json        whether Feast still offers what the champion relies on
    <home>/models/<model>/registry.json        whether the follower reaches MLflow
    <home>/models/<model>/canary/              what came of a canary or a shadow; see trivet.canary

The follower writes, workers read. Neither side needs MLflow to read, so a service starts and goes on
while MLflow is down.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trivet.canary.state import Canary, Shadow
from trivet.errors import Difference

CONTRACT = "trivet/contract.json"
"""The contract's path below a version's folder."""


class LoadedVersion(BaseModel):
    """One version that workers hold ready."""

    model_config = ConfigDict(frozen=True)

    version: int
    digest: str
    aliases: tuple[str, ...] = ()


class Live(BaseModel):
    """The live state of one model on one host."""

    model_config = ConfigDict(frozen=True)

    model: str
    champion: int
    versions: tuple[LoadedVersion, ...]
    """The champion, the one before it, then the others: the order in which they get memory."""
    release: str
    """Run id of the ledger's release that made the champion live."""
    since: datetime
    """When this host first had this state."""
    refused: str | None = None
    """What the registry asks for and why it is not followed; None when they agree."""
    canary: Canary | None = None
    shadow: Shadow | None = None


class FeatureCheck(BaseModel):
    """What the follower found when it last compared the champion's contract with Feast."""

    model_config = ConfigDict(frozen=True)

    version: int
    digest: str
    at: datetime
    differences: tuple[Difference, ...] = ()
    unchecked: str | None = None
    """Why nothing could be compared; None when it was."""


class Contact(BaseModel):
    """Whether the follower reaches the registry, and since when that is so."""

    model_config = ConfigDict(frozen=True)

    ok: bool
    since: datetime
    why: str | None = None
    """What stands in the way; None where nothing does."""


class Shelf:
    """The folder of one model on this host."""

    def __init__(self, home: Path, model: str) -> None:
        """`home`: the setting of that name, absolute."""
        self.model = model
        self.folder = home / "models" / model
        self.versions = self.folder / "versions"
        self.live_file = self.folder / "live.json"
        self.features_file = self.folder / "features.json"
        self.contact_file = self.folder / "registry.json"
        self.lock_file = self.folder / "follower.lock"
        self.canary = self.folder / "canary"

    def path(self, digest: str) -> Path:
        """Return the folder of the version with this contract digest, whether or not it exists."""
        return self.versions / digest

    def read_live(self) -> Live | None:
        """Return the live state, or None before the first release."""
        try:
            document = self.live_file.read_bytes()
        except FileNotFoundError:
            return None
        return Live.model_validate_json(document)

    def write_live(self, live: Live) -> None:
        """Replace the live state; a reader sees the old or the new one, never a part."""
        _replace(self.live_file, live)

    def read_check(self) -> FeatureCheck | None:
        """Return what was last found of the champion's features, or None."""
        try:
            document = self.features_file.read_bytes()
        except FileNotFoundError:
            return None
        return FeatureCheck.model_validate_json(document)

    def write_check(self, check: FeatureCheck) -> None:
        """Replace what was found; see `write_live`."""
        _replace(self.features_file, check)

    def read_contact(self) -> Contact | None:
        """Return whether the follower reaches the registry; None: it has never said."""
        try:
            document = self.contact_file.read_bytes()
        except FileNotFoundError:
            return None
        return Contact.model_validate_json(document)

    def write_contact(self, contact: Contact) -> None:
        """Replace what was said of the registry; see `write_live`."""
        _replace(self.contact_file, contact)


def _replace(file: Path, document: BaseModel) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.stem}.{os.getpid()}.json")
    with partial.open("w") as out:
        out.write(document.model_dump_json(indent=2) + "\n")
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
