"""What commands ask of a supervisor that runs, and what it answers: a file each way.

A folder of files needs no port and no socket's path, which the system allows a hundred letters only; a
request that was made while the supervisor restarted is still there afterwards.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from trivet.gateway.configuration import Balance
from trivet.gateway.state import replace


class Wish(BaseModel):
    """How one model is to be served; None: as it is, or by default."""

    model_config = ConfigDict(frozen=True)

    model: str
    replicas: int | None = None
    workers: int | None = None
    balance: Balance | None = None
    least: int | None = None
    most: int | None = None
    target: float | None = None


class Ask(BaseModel):
    """A request: serve these models so, with their code as it is now."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: uuid4().hex)
    wishes: tuple[Wish, ...]


class Reply(BaseModel):
    """How far a request has come."""

    model_config = ConfigDict(frozen=True)

    state: Literal["under way", "done", "failed"]
    model: str | None = None
    """Whose replicas failed."""
    why: str | None = None


class Inbox:
    """The folder of requests."""

    def __init__(self, folder: Path) -> None:
        """`folder`: need not exist yet."""
        self._folder = folder

    def clear(self) -> None:
        """Forget what was asked of a supervisor that runs no more."""
        for file in self._folder.glob("*.json"):
            file.unlink(missing_ok=True)

    def put(self, ask: Ask) -> None:
        """Ask for something."""
        replace(self._folder / f"{ask.id}.ask.json", ask)

    def take(self) -> tuple[Ask, ...]:
        """Return what was asked since the last time; what is no request is dropped."""
        found = []
        for file in sorted(self._folder.glob("*.ask.json"), key=_age):
            with contextlib.suppress(ValueError):
                found.append(Ask.model_validate_json(file.read_bytes()))
            file.unlink(missing_ok=True)
        return tuple(found)

    def answer(self, ask: str, reply: Reply) -> None:
        """Say how far a request has come."""
        replace(self._folder / f"{ask}.reply.json", reply)

    def reply(self, ask: str) -> Reply | None:
        """Return what was answered last; None: nothing yet."""
        try:
            return Reply.model_validate_json((self._folder / f"{ask}.reply.json").read_bytes())
        except FileNotFoundError:
            return None

    def forget(self, ask: str) -> None:
        """Remove an answer that was read."""
        (self._folder / f"{ask}.reply.json").unlink(missing_ok=True)


def _age(file: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
