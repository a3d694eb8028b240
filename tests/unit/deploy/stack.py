"""The compose file as compose reads it: variables filled in, anchors merged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from unit.deploy.expressions import ROOT

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"

_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


def variables() -> Iterator[tuple[str, str, str]]:
    """Yield each variable of the file: its name, `-` or `?` or nothing, and what follows that."""
    yield from _VARIABLE.findall(FILE.read_text())


def example() -> Mapping[str, str | None]:
    """Return what .env.example names: its default, or None if it has to be filled in.

    Raises:
        ValueError: a variable that has to be filled in is filled in.
    """
    found: dict[str, str | None] = {}
    for line in (FOLDER / ".env.example").read_text().splitlines():
        if asked := re.fullmatch(r"(\w+)=(.*)", line):
            if asked[2]:
                raise ValueError(f"{asked[1]} has a value")
            found[asked[1]] = None
        elif offered := re.match(r"# ([A-Z_]+)=(\S+)", line):
            found[offered[1]] = offered[2]
    return found


def stack(**values: str) -> dict[str, Any]:
    """Return the file with its variables filled in: by these values, else by their defaults."""

    def fill(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        return values.get(name, rest if kind == "-" else f"secret-of-{name.lower()}")

    filled = _VARIABLE.sub(fill, FILE.read_text()).replace("$$", "$")
    document: dict[str, Any] = yaml.safe_load(filled)
    return document
