"""The proofs of releases find an answer by a version that was not live."""

from __future__ import annotations

import pytest

from releases import Change, not_live
from steady import Answer

CHANGES = [
    Change(version=2, begun=10.0, made=10.3, noticed=10.5, old_until=10.6, settled=10.7),
    Change(version=1, begun=20.0, made=20.3, noticed=20.5, old_until=20.6, settled=20.7),
]
"""Version 1 is live, then 2, then 1 again."""


@pytest.mark.parametrize(
    ("asked", "version", "wrong"),
    [
        (5.0, 1, False),
        (5.0, 2, True),  # not released yet
        (10.1, 2, False),  # its release is being made
        (13.2, 1, False),  # replaced 2.9 s before
        (13.4, 1, True),
        (23.2, 2, False),
        (23.4, 2, True),
        (30.0, 1, False),
        (30.0, None, True),
    ],
)
def test_an_answer_is_judged_by_what_was_live_before_it(
    asked: float, version: int | None, wrong: bool
) -> None:
    """Within three seconds; one that names no version is never right."""
    answer = Answer(asked, asked, asked + 0.01, 200, version, "a-1")
    assert (not_live([answer], 1, CHANGES, 3.0) == [answer]) == wrong
