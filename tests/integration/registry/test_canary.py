"""A canary stands at the model as a tag and in the ledger as entries, whoever begins and ends it."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from trivet import cli
from trivet.canary.state import TAGS, Canary, Limits, Shadow
from trivet.canary.tally import Figures, Tallies, bucket, read_verdict, write_tallies
from trivet.errors import (
    BadTrial,
    GatesRefused,
    ReleaseConflict,
    TrivetError,
    UnknownModel,
)
from trivet.registry import canary, claim, ledger
from trivet.registry.gate import Gates
from trivet.registry.plan import plan_promotion, plan_rollback
from trivet.registry.release import apply, mend
from trivet.registry.verdicts import Judge
from trivet.registry.versions import state_of
from waiting import wait_for

from .conftest import copy_of
from .test_follower import Hands, corrupt, follower
from .toy import MODEL, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from trivet.live import Live

    from .conftest import Registry


@pytest.fixture
def released(tmp_path: Path, one_released: Path) -> Registry:
    """Return a registry with three versions, of which 1 is released."""
    return copy_of(one_released, tmp_path)


def begin(
    registry: Registry,
    version: int = 2,
    percent: float = 10,
    gates: Gates | None = None,
    **more: Any,
) -> ledger.Release:
    """Begin a canary."""
    state = Canary(version=version, percent=percent, **more)
    return canary.begin(
        registry.client, registry.settings, MODEL, state, gates or {}, "ann", "a test"
    )


def shadow(registry: Registry, version: int) -> ledger.Release:
    """Begin a shadow."""
    state = Shadow(version=version)
    return canary.begin(registry.client, registry.settings, MODEL, state, {}, "ann")


def story(registry: Registry) -> list[tuple[str, int | None]]:
    """Return the ledger as (action, version)."""
    chain = ledger.read_chain(registry.client, MODEL)[1:]
    assert all(entry.finished for entry in chain)
    assert [entry.sequence for entry in chain] == list(range(1, len(chain) + 1))
    return [(one.action, one.to_version or one.tried) for one in chain]


def tags(registry: Registry) -> dict[str, Any]:
    """Return the tags of canary and shadow, read."""
    found = registry.client.get_registered_model(MODEL).tags
    return {kind: json.loads(found[tag]) for kind, tag in TAGS.items() if tag in found}


def set_tag(registry: Registry, text: str) -> None:
    """Write a canary's tag as somebody in `mlflow ui` would."""
    registry.client.set_registered_model_tag(MODEL, TAGS["canary"], text)


def live(registry: Registry) -> Live:
    """Return the live state."""
    state = registry.shelf.read_live()
    assert state is not None
    return state


def on(registry: Registry) -> Canary:
    """Return the canary that is live."""
    state = live(registry).canary
    assert state is not None
    return state


def count(registry: Registry, **figures: Any) -> None:
    """Be a worker that has counted these of the live canary."""
    entry = on(registry).entry
    assert entry is not None
    name = f"worker-{figures}"
    write_tallies(
        registry.shelf.canary, str(abs(hash(name))), Tallies(canary=Figures(entry=entry, **figures))
    )


def test_a_canary_is_a_tag_and_an_entry_and_releases_nothing(released: Registry) -> None:
    """The champion, its alias and what a rollback returns to stay as they were."""
    released.promote(3)
    before = ledger.stack(ledger.read_chain(released.client, MODEL))
    entry = begin(released, limits=Limits(p99_ms=20))
    chain = ledger.read_chain(released.client, MODEL)
    assert story(released) == [("promote", 1), ("promote", 3), ("canary", 2)]
    assert ledger.stack(chain) == before == (1, 3)
    assert (entry.to_version, entry.tried, entry.from_version) == (None, 2, 3)
    assert (entry.who, entry.reason) == ("ann", "a test")
    newest = ledger.last(chain)
    assert newest is not None
    assert newest.to_version == 3
    assert state_of(2, chain) == "candidate"
    assert released.alias == 3
    assert tags(released)["canary"] == {
        "version": 2,
        "percent": 10.0,
        "salt": "2",
        "limits": {"p99_ms": 20.0},
        "entry": entry.run_id,
        "since": entry.at.isoformat().replace("+00:00", "Z"),
    }
    assert plan_rollback(released.client, MODEL).to_version == 1


def test_a_canary_that_is_ended_leaves_an_entry_and_no_tag(released: Registry) -> None:
    """With who and why, and its figures as an artifact of the run."""
    begin(released)
    done = canary.end(
        released.client, released.settings, MODEL, "canary", "bob", "enough", {"requests": 7}
    )
    assert done is not None
    assert story(released)[1:] == [("canary", 2), ("canary_end", 2)]
    assert tags(released) == {}
    path = released.client.download_artifacts(done.run_id, "figures.json")
    with open(path) as file:  # noqa: PTH123 - a text, as MLflow gives it
        assert json.load(file) == {"requests": 7}
    again = canary.end(released.client, released.settings, MODEL, "canary", "bob")
    assert again is None
    assert len(story(released)) == 3


def test_the_percentage_of_a_canary_can_be_changed(released: Registry) -> None:
    """Its salt stays, and with it who is at it already."""
    begin(released, percent=1, salt="mine")
    begin(released, percent=50, salt=tags(released)["canary"]["salt"])
    assert (tags(released)["canary"]["percent"], tags(released)["canary"]["salt"]) == (50, "mine")
    assert story(released)[1:] == [("canary", 2), ("canary", 2)]


def test_what_cannot_be_a_canary_is_refused_and_changes_nothing(released: Registry) -> None:
    """The champion, an unknown version, one that does not fit the features, and a second one."""
    with pytest.raises(BadTrial, match="version 1 is the champion already"):
        begin(released, 1)
    with pytest.raises(UnknownModel, match="has no version 9; versions: 1, 2, 3"):
        begin(released, 9)
    with pytest.raises(GatesRefused):
        begin(released, 2, gates={"features": refuse})
    assert story(released) == [("promote", 1)]
    assert tags(released) == {}
    begin(released, 2)
    with pytest.raises(BadTrial, match="Version 2 of toy is its canary already"):
        begin(released, 3)
    assert story(released) == [("promote", 1), ("canary", 2)]


def test_before_the_first_release_there_is_nothing_to_run_beside(registry: Registry) -> None:
    """And no ledger is begun for it."""
    with pytest.raises(BadTrial, match="has no champion"):
        begin(registry)
    assert ledger.read_chain(registry.client, MODEL) == ()


def test_a_shadow_runs_beside_a_canary(released: Registry) -> None:
    """Each has a tag and entries of its own, and the host holds both versions."""
    begin(released, 2)
    shadow(released, 3)
    follower(released).step()
    state = live(released)
    assert {one.version for one in state.versions} == {1, 2, 3}
    assert state.shadow is not None
    assert (state.champion, on(released).version, state.shadow.version) == (1, 2, 3)
    canary.end(released.client, released.settings, MODEL, "shadow", "ann")
    assert set(tags(released)) == {"canary"}


@pytest.mark.parametrize("version", [2, 3], ids=["it", "another"])
def test_a_release_ends_what_runs_beside_the_old_champion(released: Registry, version: int) -> None:
    """What it was compared with is gone; the entry says so."""
    begin(released, 2)
    shadow(released, 3)
    released.promote(version)
    assert story(released)[3:] == [
        ("promote", version),
        ("canary_end", 2),
        ("shadow_end", 3),
    ]
    assert tags(released) == {}
    reasons = {one.reason for one in ledger.read_chain(released.client, MODEL)[-2:]}
    assert reasons == {f"Version {version} was released (promote)."}
    assert released.alias == version
    running = follower(released)
    running.step()
    assert (live(released).champion, live(released).canary) == (version, None)


def test_a_rollback_ends_a_canary_and_is_none_of_its_steps(released: Registry) -> None:
    """Two releases back is two releases back, whatever ran meanwhile."""
    released.promote(2)
    begin(released, 3)
    plan = plan_rollback(released.client, MODEL)
    apply(released.client, released.settings, plan, {}, "ann")
    assert story(released)[2:] == [("canary", 3), ("rollback", 1), ("canary_end", 3)]
    assert released.alias == 1


def test_the_alias_follows_the_last_release_whatever_was_written_behind_it(
    released: Registry,
) -> None:
    """A release that is finished late meets a canary's entry, which moves no alias."""
    begin(released, 2)
    (release,) = (e for e in ledger.read_chain(released.client, MODEL) if e.to_version)
    released.move_alias(3)
    claim.finish(released.client, MODEL, release)
    assert released.alias == 1


def test_an_interrupted_canary_is_finished_by_the_next_command(
    released: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry is in the chain, its tag was not set yet."""
    with monkeypatch.context() as patch:
        patch.setattr(claim, "settle_tag", _die)
        with pytest.raises(KeyboardInterrupt):
            begin(released)
    assert tags(released) == {}
    assert mend(released.client, MODEL)
    assert tags(released)["canary"]["version"] == 2
    assert story(released)[1:] == [("canary", 2)]


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_canary_and_a_promotion_at_once_are_one_chain(released: Registry) -> None:
    """The promotion was planned before the canary: it is told, and changes nothing."""
    plan = plan_promotion(released.client, MODEL, 3)
    begin(released, 2)
    with pytest.raises(ReleaseConflict, match="ann wrote to the ledger of version 2 of toy first"):
        apply(released.client, released.settings, plan, {}, "bob")
    assert story(released) == [("promote", 1), ("canary", 2)]
    assert released.alias == 1


def test_the_follower_brings_a_canary_and_takes_it_away(released: Registry) -> None:
    """In the live state with its limits; a file of it is on the host before that."""
    following = follower(released)
    following.step()
    entry = begin(released, 2, percent=0.5)
    following.step()
    assert (on(released).version, on(released).percent, on(released).entry) == (
        2,
        0.5,
        entry.run_id,
    )
    digest = next(v.digest for v in live(released).versions if v.version == 2)
    assert released.shelf.path(digest).is_dir()
    canary.end(released.client, released.settings, MODEL, "canary", "ann")
    following.step()
    assert live(released).canary is None


def test_a_tag_edited_by_hand_is_respected(released: Registry) -> None:
    """Another percentage is followed, under the same entry."""
    following = follower(released)
    entry = begin(released, 2)
    following.step()
    set_tag(released, json.dumps(tags(released)["canary"] | {"percent": 33}))
    following.step()
    assert (on(released).percent, on(released).entry) == (33, entry.run_id)
    assert live(released).refused is None


def test_a_tag_that_does_not_parse_is_said_and_changes_nothing(released: Registry) -> None:
    """Until it is mended."""
    following = follower(released)
    begin(released, 2)
    following.step()
    before, good = on(released), json.dumps(tags(released)["canary"])
    set_tag(released, '{"version": 2, "percent": "a lot"}')
    following.step()
    assert on(released) == before
    assert "trivet.canary cannot be used: percent" in (live(released).refused or "")
    set_tag(released, good)
    following.step()
    assert (on(released), live(released).refused) == (before, None)


def test_a_canary_begun_by_hand_gets_its_entry(released: Registry) -> None:
    """As somebody's in MLflow, once two looks have found it alike."""
    following = follower(released)
    set_tag(released, '{"version": 3, "percent": 5}')
    for _ in range(3):
        following.step()
    assert story(released)[1:] == [("canary", 3)]
    entry = ledger.read_chain(released.client, MODEL)[-1]
    assert entry.who == "somebody in MLflow"
    assert (on(released).version, on(released).entry) == (3, entry.run_id)


@pytest.mark.parametrize(
    ("version", "gates", "said"),
    [
        (1, {}, "is the champion already"),
        (9, {}, "has no version 9"),
        (2, {"f": refuse}, "does not fit"),
    ],
    ids=["champion", "unknown", "does not fit"],
)
def test_a_canary_begun_by_hand_that_cannot_be_is_said(
    released: Registry, version: int, gates: Gates, said: str
) -> None:
    """Nothing is written, and the tag stays as somebody wrote it."""
    following = follower(released, gates)
    text = json.dumps({"version": version, "percent": 5})
    set_tag(released, text)
    for _ in range(4):
        following.step()
    assert story(released) == [("promote", 1)]
    assert said in (live(released).refused or "")
    assert live(released).canary is None
    assert tags(released)["canary"] == json.loads(text)


def test_a_tag_removed_by_hand_ends_the_canary(released: Registry) -> None:
    """The ledger says by whom."""
    following = follower(released)
    begin(released)
    following.step()
    released.client.delete_registered_model_tag(MODEL, TAGS["canary"])
    for _ in range(3):
        following.step()
    assert story(released)[1:] == [("canary", 2), ("canary_end", 2)]
    assert ledger.read_chain(released.client, MODEL)[-1].who == "somebody in MLflow"
    assert live(released).canary is None


def test_a_broken_limit_ends_the_canary_with_its_figures(released: Registry) -> None:
    """First on the host, by a verdict that needs no MLflow; then in the ledger."""
    following = follower(released)
    begin(released)
    following.step()
    count(released, requests=40, errors={"raised": 3})
    count(released, requests=40, errors={"raised": 4, "late": 9})
    Judge(released.shelf).look()
    verdict = read_verdict(released.shelf.canary)
    assert verdict is not None
    assert (verdict.entry, verdict.figures.requests) == (on(released).entry, 80)
    assert live(released).canary is not None
    following.step()
    entry = ledger.read_chain(released.client, MODEL)[-1]
    assert (entry.action, entry.tried, entry.who) == ("canary_end", 2, "trivet (canary)")
    assert entry.reason == (
        "error rate 20.00% over the limit of 1.00% (9 late, 7 raised of 80 requests)."
    )
    path = released.client.download_artifacts(entry.run_id, "figures.json")
    with open(path) as file:  # noqa: PTH123 - a text, as MLflow gives it
        assert json.load(file)["errors"] == {"raised": 7, "late": 9}
    assert tags(released) == {}
    following.step()
    assert live(released).canary is None


def test_what_breaks_after_a_long_good_time_is_seen_in_the_window(released: Registry) -> None:
    """A thousand good requests do not hide fifty bad ones."""
    following = follower(released)
    begin(released, limits=Limits(window_seconds=0.2, error_rate=0.2))
    following.step()
    judge = Judge(released.shelf)
    count(released, requests=1000)
    judge.look()
    assert read_verdict(released.shelf.canary) is None
    time.sleep(0.3)
    judge.look()
    count(released, requests=50, errors={"raised": 45})
    judge.look()
    verdict = read_verdict(released.shelf.canary)
    assert verdict is not None
    assert "45 raised of 50 requests" in verdict.sentence


def test_a_canary_that_holds_its_limits_is_promoted(released: Registry) -> None:
    """After its time, with enough requests, and through the gates; the ledger says by what."""
    clock = Hands()
    following = follower(released, clock=clock)
    begun = begin(released, promote_after_seconds=60, promote_requests=200)
    following.step()
    count(released, requests=150, took={bucket(0.004): 150})
    clock.now = begun.at + timedelta(seconds=61)
    following.step()
    assert story(released)[1:] == [("canary", 2)], "too few requests"
    count(released, requests=50, took={bucket(0.004): 50})
    clock.now = begun.at + timedelta(seconds=59)
    following.step()
    assert story(released)[1:] == [("canary", 2)], "too early"
    clock.now = begun.at + timedelta(seconds=62)
    following.step()
    assert story(released)[1:] == [("canary", 2), ("promote", 2), ("canary_end", 2)]
    promoted = ledger.read_chain(released.client, MODEL)[-2]
    assert promoted.who == "trivet (canary)"
    assert promoted.reason.startswith(
        "Canary at 10 %: limits held for 60 s, 200 requests, 0 failed"
    )
    assert (live(released).champion, live(released).canary) == (2, None)


def test_a_canary_that_no_longer_fits_is_not_promoted(released: Registry) -> None:
    """The gates are asked again, and it goes on as canary."""
    clock = Hands()
    following = follower(released, {"features": refuse}, clock)
    begun = begin(released, promote_after_seconds=60, promote_requests=1)
    following.step()
    count(released, requests=150)
    clock.now = begun.at + timedelta(seconds=61)
    for _ in range(3):
        following.step()
    assert story(released)[1:] == [("canary", 2)]
    assert released.alias == 1
    assert on(released).version == 2


@pytest.fixture
def trivet(released: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the command line, typed in the project; it fails the test unless it ends as expected."""
    (released.settings.root / "pyproject.toml").write_text("[tool.trivet]\n")
    monkeypatch.chdir(released.settings.root)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.trivet, [*words])
        ended = getattr(done.exception, "exit_code", done.exit_code)
        assert ended == code, (done.output, done.exception)
        return str(done.exception) if isinstance(done.exception, TrivetError) else done.output

    return run


def test_the_commands_begin_show_and_end_a_canary(
    released: Registry, trivet: Callable[..., Any]
) -> None:
    """With the limits that were given, and the figures of this host's workers."""
    begun = trivet(
        *("canary", MODEL, "2", "--percent", "2.5", "--p99-ms", "50", "--promote-after", "30m"),
        *("--reason", "it looks good"),
    )
    assert "version 2 is the canary, on 2.5 % of the requests" in begun
    follower(released).step()
    assert on(released).limits == Limits(p99_ms=50)
    assert on(released).promote_after_seconds == 1800
    count(released, requests=40, errors={"late": 2}, rows=38, unlike=1, took={bucket(0.02): 40})
    shown = json.loads(trivet("canary", MODEL, "--json"))
    assert shown["state"]["percent"] == 2.5
    assert shown["figures"]["error_rate"] == 0.05
    assert shown["figures"]["divergence"] == 1 / 38
    assert shown["figures"]["p99_ms"] == pytest.approx(20, rel=0.05)
    text = trivet("canary", MODEL)
    assert "5.00% (2 late)" in text
    assert "p99_ms 50" in text
    assert "has ended" in trivet("canary", MODEL, "--percent", "0", "--reason", "enough")
    assert "version 2, was ended" in " ".join(trivet("canary", MODEL).split())
    assert "toy has no canary" in trivet("canary", MODEL, "--stop")
    history = json.loads(trivet("history", MODEL, "--json"))
    assert [(one["action"], one["tried"]) for one in history[:2]] == [
        ("canary_end", 2),
        ("canary", 2),
    ]
    assert (history[1]["reason"], history[0]["reason"]) == ("it looks good", "enough")
    assert "canary_end" in trivet("history", MODEL)


def test_the_commands_begin_show_and_end_a_shadow(
    released: Registry, trivet: Callable[..., Any]
) -> None:
    """All requests, unless a share is asked for."""
    assert "version 3 runs as shadow, on 100 %" in trivet("shadow", MODEL, "3")
    assert json.loads(trivet("shadow", MODEL, "--json"))["state"]["version"] == 3
    assert "dropped" in trivet("shadow", MODEL)
    assert "the shadow of version 3 has ended" in trivet("shadow", MODEL, "--stop")
    assert tags(released) == {}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("canary", MODEL, "2"), 2, "--percent says how much"),
        (("canary", MODEL, "2", "--percent", "10", "--error-rate", "2"), 2, "--error-rate"),
        (("canary", MODEL, "2", "--percent", "10", "--promote-after", "soon"), 2, "no duration"),
        (("canary", MODEL, "1", "--percent", "10"), 1, "is the champion already"),
        (("shadow", MODEL, "9"), 2, "has no version 9"),
    ],
)
def test_the_commands_refuse_by_a_sentence(
    released: Registry, trivet: Callable[..., Any], words: tuple[str, ...], code: int, said: str
) -> None:
    """And write nothing."""
    assert said in trivet(*words, code=code)
    assert story(released) == [("promote", 1)]


def test_a_broken_canary_is_set_back_while_mlflow_is_down(released: Registry) -> None:
    """By the host's verdict within a second or two; the ledger has it when MLflow is back."""
    begin(released)
    stop = threading.Event()
    thread = threading.Thread(target=follower(released).run, args=(stop,))
    thread.start()
    database = released.settings.root / "mlflow.db"
    away = database.with_suffix(".away")
    try:
        wait_for(lambda: (state := released.shelf.read_live()) is not None and bool(state.canary))
        database.rename(away)
        count(released, requests=40, errors={"raised": 40})
        wait_for(lambda: read_verdict(released.shelf.canary) is not None, within=3)
        away.rename(database)
        wait_for(lambda: live(released).canary is None)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert story(released)[-1] == ("canary_end", 2)


def test_a_corrupt_canary_is_said_and_gets_nothing(released: Registry) -> None:
    """What answers goes on."""
    version = corrupt(released)
    begin(released, version)
    follower(released).step()
    assert live(released).canary is None
    assert f"Version {version}, the canary, could not be brought" in (live(released).refused or "")
    assert live(released).champion == 1
