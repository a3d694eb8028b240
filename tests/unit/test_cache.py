"""A row that was read is used again for the staleness that is allowed, and never for longer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trivet.features.cache import CacheTable, RowCache
from trivet.features.values import StoredRow

SECOND = 1_000_000
WRITES = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 40), min_size=1, max_size=12)),
    max_size=30,
)


def row(read: int = 0) -> StoredRow:
    """Return a row that was read at a moment."""
    return StoredRow(values=(1,), known=0, read=read)


def table(seconds: float = 1.0, most: int = 10) -> CacheTable:
    """Return a part of a cache of its own."""
    return RowCache(seconds, most).table("shop", "users", ["income"])


def test_a_row_is_found_until_it_is_as_old_as_is_allowed() -> None:
    """Counted from its read, to the microsecond."""
    users = table()
    users.keep({"u1": row(read=5)})
    assert users.find(["u1"], 5 + SECOND - 1) == [row(read=5)]
    assert users.find(["u1"], 5 + SECOND) is None


def test_rows_are_found_all_or_not_at_all() -> None:
    """A request that has to wait for one row waits for its whole answer."""
    users = table()
    users.keep({"u1": row(), "u2": row()})
    assert users.find(["u2", "u1", "u2"], 1) == [row(), row(), row()]
    assert users.find(["u1", "u3"], 1) is None
    assert users.split(["u3", "u1", "u3"], 1) == ({"u1": row()}, ["u3"])


def test_an_unknown_entity_is_kept_too() -> None:
    """Or everybody could make a worker ask the store as often as they like."""
    users = table()
    nobody = StoredRow(values=(None,), known=None, read=0)
    users.keep({"u404": nobody})
    assert users.find(["u404"], 1) == [nobody]


def test_a_clock_that_was_set_back_makes_rows_stale() -> None:
    """They would be kept for as long as it was set back."""
    users = table()
    users.keep({"u1": row(read=SECOND)})
    assert users.find(["u1"], 0) is None


def test_without_staleness_nothing_is_kept() -> None:
    """Every request reads."""
    cache = RowCache(0, 10)
    users = cache.table("shop", "users", ["income"])
    users.keep({"u1": row()})
    assert (users.find(["u1"], 0), len(cache)) == (None, 0)


def test_versions_that_read_the_same_share_rows_and_others_do_not() -> None:
    """A row holds the values of its features only, in their order."""
    cache = RowCache(1, 10)
    cache.table("shop", "users", ["income", "age"]).keep({"u1": row()})
    assert cache.table("shop", "users", ["income", "age"]).find(["u1"], 0) == [row()]
    for other in (("shop", "users", ["age", "income"]), ("shop2", "users", ["income", "age"])):
        assert cache.table(*other).find(["u1"], 0) is None


def test_what_was_read_first_goes_first() -> None:
    """Reading it again makes it last."""
    users = table(most=3)
    for number, name in enumerate(["a", "b", "c", "a", "d"]):
        users.keep({name: row(read=number)})
    assert users.find(["b"], 5) is None
    assert users.find(["c", "a", "d"], 5) is not None


@given(writes=WRITES, most=st.integers(1, 30))
def test_there_are_never_more_rows_than_the_limit(
    writes: list[tuple[int, list[int]]], most: int
) -> None:
    """Over all views together, but for one read that brings more than that at once."""
    cache = RowCache(1, most)
    tables = [cache.table("shop", f"view_{n}", ["x"]) for n in range(4)]
    for view, entities in writes:
        tables[view].keep({entity: row() for entity in entities})
        assert len(cache) <= max(most, len(set(entities)))
        assert tables[view].find(entities, 0) is not None
