"""A limit is broken by figures that prove it, whichever worker counted them."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.canary.limits import broken, exceeds
from trivet.canary.state import Limits
from trivet.canary.tally import (
    Figures,
    Tallies,
    added_up,
    bucket,
    quantile,
    read_tallies,
    slower,
    upper,
    write_tallies,
)


def took(*seconds: float) -> dict[int, int]:
    """Return durations by bucket."""
    counts: dict[int, int] = {}
    for one in seconds:
        counts[bucket(one)] = counts.get(bucket(one), 0) + 1
    return counts


def figures(**parts: Any) -> Figures:
    """Return figures of a hundred requests that are all well."""
    well = {"requests": 100, "rows": 100, "took": took(*[0.004] * 100)}
    return Figures(**{"entry": "e", "champion_took": took(*[0.002] * 900), **well, **parts})


@pytest.mark.parametrize(
    ("limits", "found", "said"),
    [
        ({}, {"errors": {"raised": 8, "late": 2}}, "error rate 10.00% over the limit of 1.00%"),
        ({"error_rate": 0.0}, {"errors": {"raised": 1}}, "error rate 1.00%"),
        ({"p99_ms": 50}, {"took": took(*[0.004] * 90, *[0.3] * 10)}, "over the limit of 50 ms"),
        (
            {"p99_ratio": 5},
            {"took": took(*[0.004] * 90, *[0.3] * 10)},
            "over the limit of 5 times the champion's",
        ),
        ({"divergence": 0.05}, {"unlike": 30}, "divergence 30.00% over the limit of 5.00%"),
        ({"difference": 0.1}, {"difference": 20.0}, "mean difference 0.2 over the limit of 0.1"),
    ],
)
def test_a_broken_limit_is_named_with_its_figures(
    limits: dict[str, Any], found: dict[str, Any], said: str
) -> None:
    """The sentence becomes the reason in the ledger."""
    sentence = broken(Limits(**limits), figures(**found))
    assert sentence is not None
    assert said in sentence


@pytest.mark.parametrize(
    "found",
    [
        {"errors": {"raised": 2}},
        {"took": took(*[0.004] * 98, *[0.3] * 2)},
        {"unlike": 6},
        {"requests": 19, "errors": {"raised": 19}},
    ],
    ids=["two errors", "two slow ones", "six other rows", "too few requests"],
)
def test_bad_luck_breaks_no_limit(found: dict[str, Any]) -> None:
    """Two errors in a hundred are no proof of more than one in a hundred."""
    limits = Limits(p99_ms=50, p99_ratio=10, divergence=0.05)
    assert broken(limits, figures(**found)) is None


def test_a_version_within_its_limit_is_hardly_ever_set_back() -> None:
    """Looked at after every request, a thousand times over 500 requests."""
    draw = random.Random(1)  # noqa: S311 - not a secret
    set_back = 0
    for _ in range(1000):
        failed = 0
        for number in range(1, 501):
            failed += draw.random() < 0.01
            if number >= 20 and exceeds(failed, number, 0.01):
                set_back += 1
                break
    assert set_back <= 10


@given(st.lists(st.floats(1e-5, 20), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_is_at_most_a_twentieth_off(seconds: list[float], share: float) -> None:
    """Buckets grow by that, and so do what they say."""
    exact = sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
    found = quantile(took(*seconds), share)
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.051


@given(st.floats(1e-5, 20))
def test_a_duration_lies_in_its_bucket(seconds: float) -> None:
    """Above the bound of the bucket before it."""
    number = bucket(seconds)
    assert upper(number) >= seconds * 0.999999
    assert number == 0 or upper(number - 1) <= seconds * 1.000001
    assert slower({number: 3}, seconds * 1.06) == 0
    assert slower({number + 2: 3}, seconds) == 3


@given(st.lists(st.lists(st.floats(1e-5, 5)), max_size=5))
def test_figures_of_workers_add_up(workers: list[list[float]]) -> None:
    """Whoever counted a request, the sum is as if one had counted all."""
    each = [Figures(entry="e", requests=len(one), took=took(*one)) for one in workers]
    together = [seconds for one in workers for seconds in one]
    total = added_up([*each, Figures(entry="another", requests=9), None], "e")
    assert total == Figures(entry="e", requests=len(together), took=took(*together))


def test_what_came_since_is_the_difference() -> None:
    """The window of the last seconds is that."""
    before = figures(errors={"raised": 2})
    after = before.plus(figures(errors={"raised": 1, "late": 4}))
    assert after.plus(before, -1) == figures(errors={"raised": 1, "late": 4})


def test_what_a_worker_writes_is_read_again(tmp_path: Path) -> None:
    """And half a file, or another one, is left out."""
    write_tallies(tmp_path, "1-a", Tallies(canary=figures(), broken="why"))
    write_tallies(tmp_path, "2-b", Tallies(shadow=figures(dropped=3)))
    (tmp_path / "worker-3.json").write_text("{")
    assert list(read_tallies(tmp_path)) == [
        Tallies(canary=figures(), broken="why"),
        Tallies(shadow=figures(dropped=3)),
    ]
