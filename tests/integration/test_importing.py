"""Who only reads imports Feast without the checks that cost most of it; who defines keeps them."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


COMMAND = """
import click
from trivet.cli import trivet

@click.command("{name}")
def probe():
    import typeguard
    from feast import Field
    from feast.types import Int64
    try:
        Field(name=7, dtype=Int64)
        print("unchecked")
    except typeguard.TypeCheckError:
        print("checked")

trivet.add_command(probe)
trivet.main(["{name}"], standalone_mode=False)
"""


@pytest.mark.parametrize(
    ("command", "said"), [("status", "unchecked"), ("apply", "checked"), ("train", "checked")]
)
def test_commands_that_read_do_without_and_those_that_define_do_not(
    command: str, said: str
) -> None:
    """It is three of the eight seconds that `trivet status` took."""
    script = [sys.executable, "-c", COMMAND.format(name=command)]
    assert subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip() == said
