"""The chain of releases and what it means, without MLflow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trivet.registry.ledger import Action, Release, answering_at, follow, last, stack
from trivet.registry.versions import state_of


def entry(sequence: int, action: Action, to_version: int | None, *, steps: int = 1) -> Release:
    """Return one entry of a chain whose run ids are r0, r1, ..."""
    return Release(
        run_id=f"r{sequence}",
        sequence=sequence,
        action=action,
        from_version=None,
        to_version=to_version,
        steps=steps,
        who="ann",
        reason="",
        at=datetime(2026, 11, 22, tzinfo=UTC),
        finished=True,
        successor=f"r{sequence + 1}",
    )


def chain_of(*moves: int) -> tuple[Release, ...]:
    """Return a chain in which a positive number promotes that version and -n rolls back n steps."""
    chain = [entry(0, "open", None)]
    for sequence, move in enumerate(moves, start=1):
        if move > 0:
            chain.append(entry(sequence, "promote", move))
        else:
            back = stack(chain)[move - 1]
            chain.append(entry(sequence, "rollback", back, steps=-move))
    return tuple(chain)


def test_an_unopened_and_an_unused_ledger_have_no_champion() -> None:
    """Neither the empty chain nor the opening entry releases a version."""
    assert stack(()) == stack(chain_of()) == ()
    assert last(()) is last(chain_of()) is None


def test_rolling_back_twice_goes_back_two_and_not_to_and_fro() -> None:
    """A rollback takes a release off, it does not add the old version on top."""
    assert stack(chain_of(1, 2, 3, -1, -1)) == (1,)


def test_a_promotion_after_a_rollback_stands_on_the_version_rolled_back_to() -> None:
    """What was rolled back from is not what the next rollback returns to."""
    assert stack(chain_of(1, 2, -1, 3)) == (1, 3)


def test_a_version_accepted_by_hand_counts_as_a_promotion() -> None:
    """A rollback after it returns to the version before the hand was laid on."""
    chain = (*chain_of(1), entry(2, "accept", 5))
    assert stack(chain) == (1, 5)


@given(st.lists(st.integers(min_value=1, max_value=9), min_size=2, max_size=30), st.data())
def test_rolling_back_n_steps_equals_n_rollbacks_of_one(
    versions: list[int], data: st.DataObject
) -> None:
    """Whatever was promoted, steps add up."""
    steps = data.draw(st.integers(min_value=1, max_value=len(versions) - 1))
    at_once = stack(chain_of(*versions, -steps))
    assert at_once == stack(chain_of(*versions, *[-1] * steps)) == tuple(versions[:-steps])


@given(st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=30))
def test_the_champion_is_what_the_newest_entry_says(versions: list[int]) -> None:
    """Replaying the chain and reading its last entry agree, also after a rollback."""
    for moves in (versions, [*versions, versions[0], -1]):
        chain = chain_of(*moves)
        newest = last(chain)
        assert newest is not None
        assert stack(chain)[-1] == newest.to_version


@given(st.integers(min_value=0, max_value=300))
def test_a_chain_is_read_in_order_however_its_runs_are_stored(length: int) -> None:
    """Only the links count, and entries outside of the chain are left out."""
    runs = {f"r{n}": entry(n, "promote", n + 1) for n in range(length + 1)}
    end = runs[f"r{length}"]
    runs[end.run_id] = Release(
        **{name: getattr(end, name) for name in end.__slots__ if name != "successor"},
        successor=None,
    )
    runs["lost"] = entry(7, "promote", 99)
    assert [one.sequence for one in follow("r0", runs.__getitem__)] == list(range(length + 1))


def test_each_version_has_the_state_that_the_ledger_gives_it() -> None:
    """Never released, live, the one a rollback returns to, and left behind."""
    chain = chain_of(1, 2, 3)
    states = [state_of(version, chain) for version in (1, 2, 3, 4)]
    assert states == ["archived", "previous", "champion", "candidate"]


def test_a_version_rolled_back_from_is_archived() -> None:
    """It was live once, and is neither live nor next."""
    assert state_of(2, chain_of(1, 2, -1)) == "archived"


def test_which_version_answered_is_the_last_release_until_then() -> None:
    """From its very moment on; the ledger's opening releases nothing."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    chain = [replace(one, at=noon + timedelta(hours=n)) for n, one in enumerate(chain_of(1, 2, -1))]

    def answering(hours: float) -> int | None:
        found = answering_at(chain, noon + timedelta(hours=hours))
        return None if found is None else found.to_version

    assert [answering(h) for h in (-1, 0, 0.9, 1, 1.9, 2, 2.9, 3, 99)] == [
        *(None, None, None),
        *(1, 1, 2, 2, 1, 1),
    ]
    assert answering_at((), noon) is None
