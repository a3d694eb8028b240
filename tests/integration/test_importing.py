"""A worker imports Feast without the checks that cost most of it, and nobody else loses them."""

from __future__ import annotations

import subprocess
import sys

CHECK = """
import typeguard
from trivet.features.importing import import_feast_unchecked
{first}
before = typeguard.typechecked
import_feast_unchecked()
from feast import Field
from feast.types import Int64

def refuses(name):
    try:
        return Field(name=name, dtype=Int64).name != name
    except typeguard.TypeCheckError:
        return True

print(refuses("a"), refuses(7), typeguard.typechecked is before)
"""


def checks(first: str = "") -> list[str]:
    """Return whether Feast refuses a good and a wrong type, and whether typeguard is as it was."""
    command = [sys.executable, "-c", CHECK.format(first=first)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_feast_is_imported_without_its_checks_and_others_keep_theirs() -> None:
    """The decorator is itself again as soon as Feast is imported."""
    assert checks() == ["False", "False", "True"]


def test_where_feast_is_imported_already_nothing_changes() -> None:
    """Its checks stay for whoever defines features."""
    assert checks("import feast") == ["False", "True", "True"]
