"""Import Feast in a quarter of the time, for processes that define no features.

Feast's classes check the types of what they are given. For that typeguard rewrites and compiles their
source each time that Feast is imported: 2.7 of 4.0 s of a processor, in every worker and follower.
The checks help whoever writes definitions, and their own processes (`feast apply`, `trivet apply`,
training) keep them; a worker, and every other command, only reads from the registry what was checked
when it was applied.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def import_feast_unchecked() -> None:
    """Import Feast without its checks of arguments' types, unless it is imported already."""
    if "feast" not in sys.modules:
        with feast_unchecked():
            import feast  # noqa: F401


@contextmanager
def feast_unchecked() -> Iterator[None]:
    """Have Feast come without its checks of arguments' types, if anything in the block imports it."""
    import typeguard

    checked = typeguard.typechecked
    typeguard.typechecked = _as_it_is
    try:
        yield
    finally:
        typeguard.typechecked = checked


def _as_it_is(target: Any = None, **_: Any) -> Any:
    """Stand in for the decorator, with or without arguments."""
    return _as_it_is if target is None else target
