"""One cause a difference, by rules in a fixed order."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.contract import Column
from trivet.observe.skew.causes import (
    CAUSES,
    NEVER,
    SAME,
    SECOND,
    Cause,
    Evidence,
    end_of,
    judge,
    judge_computed,
    newer_event,
    same_event,
)
from trivet.observe.skew.lateness import Missing, late
from trivet.observe.skew.values import (
    alike,
    converted,
    equal,
    equal_converted,
    micros,
    moments,
    plain,
)

NAMES = [field.name for field in fields(Evidence)]
HOUR = 3600 * SECOND


def mask(*truths: bool) -> np.ndarray:
    """Return truths as the rules have them."""
    return np.array(truths, dtype=np.bool_)


def cause(**known: bool) -> Cause | None:
    """Judge one value of which only this is known; None: it is the same."""
    evidence = Evidence(**{name: mask(known.get(name, False)) for name in NAMES})
    (code,) = judge(evidence)
    return None if code == SAME else CAUSES[code]


# --- the order ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"overridden": True}, Cause.OVERRIDE),
        ({"defaulted": True, "offline_present": True}, Cause.DEFAULT),
        ({"logged_expired": True, "offline_present": True}, Cause.EXPIRED),
        ({"offline_expired": True, "same_event": True}, Cause.EXPIRED),
        ({"converted": True}, Cause.DTYPE),
        ({}, Cause.CHANGED),
        ({"held": True, "newer_event": True, "cached": True, "late": True}, Cause.CACHE),
        ({"held": True, "newer_event": True, "late": True}, Cause.LATE),
        ({"held": True, "newer_event": True}, Cause.LAG),
        ({"held": True}, Cause.UNEXPLAINED),
        # What is only one half of a reason names nothing.
        ({"held": True, "defaulted": True}, Cause.UNEXPLAINED),
        ({"held": True, "logged_expired": True}, Cause.UNEXPLAINED),
        ({"held": True, "offline_expired": True}, Cause.UNEXPLAINED),
        ({"held": True, "cached": True, "late": True}, Cause.UNEXPLAINED),
        # Being late or behind excuses nothing that the source no longer says.
        ({"newer_event": True, "cached": True}, Cause.CHANGED),
        ({"newer_event": True, "converted": True}, Cause.DTYPE),
    ],
)
def test_the_first_rule_that_fits_names_the_cause(known: dict[str, bool], expected: Cause) -> None:
    """Each by what it takes and no more."""
    assert cause(**known) is expected


@given(st.fixed_dictionaries({name: st.booleans() for name in NAMES}))
def test_equal_values_have_no_cause_and_others_have_one(known: dict[str, bool]) -> None:
    """Whatever else is known; and an override is one before all else."""
    found = cause(**known)
    assert (found is None) is known["equal"]
    if known["overridden"] and not known["equal"]:
        assert found is Cause.OVERRIDE


@given(st.lists(st.fixed_dictionaries({name: st.booleans() for name in NAMES}), max_size=20))
def test_values_are_judged_apart(rows: list[dict[str, bool]]) -> None:
    """All at once as one by one."""
    evidence = Evidence(**{n: np.array([row[n] for row in rows], dtype=np.bool_) for n in NAMES})
    one_by_one = [cause(**row) for row in rows]
    assert [None if c == SAME else CAUSES[c] for c in judge(evidence)] == one_by_one


# --- what is computed -----------------------------------------------------------------------------


def computed(*inputs: Cause | None, **known: bool) -> Cause | None:
    """Judge one computed value whose inputs differ for these causes."""
    codes = [np.array([SAME if c is None else CAUSES.index(c)], np.int8) for c in inputs]
    names = ("equal", "overridden", "code_differs")
    parts: Any = {name: mask(known.get(name, False)) for name in names}
    (code,) = judge_computed(**parts, inputs=codes)
    return None if code == SAME else CAUSES[code]


@pytest.mark.parametrize("inherited", CAUSES)
def test_a_computed_value_has_the_cause_of_its_input(inherited: Cause) -> None:
    """Unless it was given itself, or the code is another one."""
    assert computed(None, inherited) is inherited
    assert computed(inherited, code_differs=True) is Cause.CODE
    assert computed(inherited, code_differs=True, overridden=True) is Cause.OVERRIDE
    assert computed(inherited, equal=True) is None


@pytest.mark.parametrize("excused", [Cause.LAG, Cause.CACHE, Cause.OVERRIDE])
def test_of_two_inputs_the_one_that_counts_is_passed_on(excused: Cause) -> None:
    """In whatever order they come."""
    for counted in (Cause.CHANGED, Cause.LATE, Cause.DTYPE):
        assert computed(excused, counted) is counted
        assert computed(counted, excused) is counted


def test_a_computed_value_that_differs_for_no_reason_is_unexplained() -> None:
    """Its inputs agree, and so does the code."""
    assert computed(None, None) is Cause.UNEXPLAINED


# --- events ---------------------------------------------------------------------------------------

EVENTS = st.integers(min_value=-(10**15), max_value=4 * 10**15)


def one(moment: int) -> np.ndarray:
    """Return one moment."""
    return np.array([moment], dtype=np.int64)


@given(EVENTS)
def test_an_event_is_the_same_cut_to_the_second_and_whole(moment: int) -> None:
    """As SQLite keeps it, and as the others do."""
    for served in (moment, moment - moment % SECOND):
        assert same_event(one(moment), one(served))[0]
        assert not newer_event(one(moment), one(served))[0]
        assert end_of(one(served))[0] >= moment or served == moment


@given(EVENTS, st.integers(min_value=1, max_value=10**12))
def test_a_later_event_is_newer_unless_it_may_be_the_same(moment: int, later: int) -> None:
    """Within one second of a time without a part of one, it may be."""
    found = moment + later
    newer = newer_event(one(found), one(moment))[0]
    assert newer != same_event(one(found), one(moment))[0]
    assert newer or (moment % SECOND == 0 and later < SECOND)
    assert not newer_event(one(moment), one(found))[0]


def test_where_nothing_was_served_any_event_is_newer() -> None:
    """And where nothing is known, none is."""
    never, now = one(int(NEVER)), one(5 * SECOND)
    assert newer_event(now, never)[0]
    assert not newer_event(never, now)[0]
    assert not newer_event(never, never)[0]
    assert not same_event(never, never)[0]
    assert end_of(never)[0] == NEVER


@pytest.mark.parametrize(
    ("event", "written", "read", "intervals", "expected"),
    [
        (5, NEVER, 20, [(0, 10)], True),
        (5, NEVER, 9, [(0, 10)], False),  # read before it ended
        (11, NEVER, 20, [(0, 10)], False),  # the event is later
        (5, NEVER, 20, [(6, 10)], False),  # the event is earlier
        (5, NEVER, 10, [(5, 10)], True),  # bounds count on both sides
        (10, NEVER, 10, [(0, 10)], True),
        (5, NEVER, 20, [], False),
        (5, 8, 20, [(0, 10)], False),  # it was there
        (5, 11, 20, [(0, 10)], True),
        (5, 11, 20, [(0, 10), (4, 15)], False),  # the second one has it
        (5, 16, 20, [(0, 10), (4, 15)], True),
        (5, 11, 20, [(0, 10), (4, 25)], True),  # which came after the read
    ],
)
def test_an_event_is_late_if_its_materialization_had_missed_it(
    event: int, written: int, read: int, intervals: list[tuple[int, int]], expected: bool
) -> None:
    """By what the registry says of intervals, and the source of rows."""
    missing = Missing(
        entity=one(1),
        event=one(event),
        written=one(int(written)),
        read=one(read),
        served=one(int(NEVER)),
    )
    for pushed in (True, False):
        assert late(missing, mask(True), intervals, pushed=pushed)[0] == expected
        assert not late(missing, mask(False), intervals, pushed=pushed)[0]


T = [10 * n * SECOND for n in range(20)]


def found_late(
    reads: list[tuple[int, int, int]], intervals: list[tuple[int, int]], *, pushed: bool = False
) -> list[bool]:
    """Judge reads of one event, of T[1], which was not served before; each read of an entity.

    Args:
        reads: entity, moment, and the event that was served; nothing is missing where it is T[1].
        intervals: of the view.
        pushed: whether the view is pushed to.
    """
    entity, read, served = (np.array(column, dtype=np.int64) for column in zip(*reads, strict=True))
    missing = Missing(
        entity=entity,
        event=np.full_like(read, T[1] + 5),
        written=np.full_like(read, NEVER),
        read=read,
        served=served,
    )
    return late(missing, served != T[1], intervals, pushed=pushed).tolist()


def test_what_a_materialization_was_still_writing_is_not_late() -> None:
    """The same entity got it a little later, and nothing else can have brought it."""
    reads = [(1, T[4], T[0]), (1, T[6], T[1])]
    assert found_late(reads, [(T[0], T[3])]) == [False, False]
    assert found_late(reads, [(T[0], T[3])], pushed=True) == [False, False]


def test_nor_is_what_others_lacked_at_the_same_time() -> None:
    """Those that were read before it was done; a push to one says nothing of the others."""
    reads = [(1, T[4], T[0]), (2, T[4] - 1, T[0]), (3, T[5], T[0]), (1, T[6], T[1])]
    assert found_late(reads, [(T[0], T[3])]) == [False, False, True, False]
    assert found_late(reads, [(T[0], T[3])], pushed=True) == [False, True, True, False]


def test_what_a_second_materialization_has_mended_was_late() -> None:
    """It went back to before the event."""
    reads = [(1, T[4], T[0]), (1, T[6], T[1])]
    assert found_late(reads, [(T[0], T[3]), (T[0], T[5])]) == [True, False]


def test_what_was_served_before_says_nothing() -> None:
    """Nor what was served to another entity."""
    assert found_late([(1, T[4], T[1]), (1, T[6], T[0])], [(T[0], T[3])]) == [False, True]
    assert found_late([(1, T[4], T[0]), (2, T[6], T[1])], [(T[0], T[3])]) == [True, False]


# --- values ---------------------------------------------------------------------------------------


def floats(*values: float | None) -> pa.Array:
    """Return numbers."""
    return pa.array(values, pa.float64())


@given(st.floats() | st.none(), st.floats() | st.none())
def test_numbers_are_compared_exactly_and_nan_is_a_null(
    left: float | None, right: float | None
) -> None:
    """As Python compares them, once NaN is None."""
    sides = [None if side is None or side != side else side for side in (left, right)]  # noqa: PLR0124
    arrays = [plain(floats(side), "float64") for side in (left, right)]
    assert equal(*arrays)[0] == (sides[0] == sides[1])


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_keep_all_their_digits(left: int, right: int) -> None:
    """Beyond what a float holds."""
    assert equal(pa.array([left]), pa.array([right]))[0] == (left == right)


def test_a_number_of_another_kind_may_be_equal_and_a_text_may_not() -> None:
    """A null is a null of any kind."""
    assert equal(pa.array([1, None]), floats(1.0, None)).tolist() == [True, True]
    assert equal(pa.array([True]), pa.array([1])).tolist() == [True]
    assert equal(pa.array([3, None]), pa.array(["3", None])).tolist() == [False, True]
    assert equal(pa.array([3, 4]), pa.nulls(2)).tolist() == [False, False]
    assert alike("int64", "float64")
    assert not alike("int64", "string")
    assert not alike("timestamp", "int64")


@given(st.floats(width=64, allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_single_precision_is_a_conversion_in_both_directions(value: float) -> None:
    """Of a Float32 of Feast over a wider source, or the reverse."""
    narrow = float(np.float32(value))
    assert equal_converted(floats(value), floats(narrow), {"float64"})[0]
    assert equal_converted(floats(narrow), floats(value), {"float64"})[0]


def test_a_whole_part_is_a_conversion_only_where_whole_numbers_are_meant() -> None:
    """Else it is another value."""
    left, right = floats(3.0, -3.0, 4.0), floats(3.7, -3.7, 3.7)
    assert equal_converted(left, right, {"float64", "int64"}).tolist() == [True, True, False]
    assert not equal_converted(left, right, {"float64"}).any()


def test_a_whole_second_is_a_conversion_of_a_time() -> None:
    """Feast's UnixTimestamp has no parts of one."""
    left = moments(np.array([5 * SECOND, 5 * SECOND, NEVER]))
    right = moments(np.array([5 * SECOND + 1, 6 * SECOND, 5]))
    assert equal_converted(left, right, {"timestamp"}).tolist() == [True, False, False]


def test_what_is_null_was_not_converted() -> None:
    """On either side."""
    assert not equal_converted(floats(None, 1.0), floats(1.0, None), {"float64"}).any()
    assert equal_converted(pa.array([3, None]), pa.array(["3", "4"]), {"int64"}).tolist() == [
        True,
        False,
    ]


def test_moments_go_to_microseconds_and_back() -> None:
    """Null included."""
    since = np.array([0, -1, 1_800_000_000_000_001, NEVER])
    assert micros(moments(since)).tolist() == since.tolist()
    assert moments(since).null_count == 1


def test_what_cannot_be_converted_is_null() -> None:
    """Each value by itself."""
    column = Column(name="visits", source="users:visits", dtype="int64")
    assert converted(column, pa.array(["3", "x", None, "5"])).to_pylist() == [3, None, None, 5]
    assert converted(column, floats(3.0, 3.5, None)).to_pylist() == [3, None, None]
