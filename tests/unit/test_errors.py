"""Every error is a sentence, a hint, a status and an exit code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trivet import errors
from trivet.errors import (
    Difference,
    Fault,
    InvalidInstances,
    NoChampion,
    RegistryUnavailable,
    RequestTooLarge,
    TrivetError,
    VersionNotLoaded,
    without_secrets,
)


def family(root: type[TrivetError] = TrivetError) -> Iterator[type[TrivetError]]:
    """Return every class of the family below its root."""
    for child in root.__subclasses__():
        yield child
        yield from family(child)


@pytest.mark.parametrize("kind", list(family()), ids=lambda kind: kind.__name__)
def test_every_class_says_its_title_status_and_exit_code(kind: type[TrivetError]) -> None:
    """A class that forgot its title would show as an internal error."""
    assert kind.title != TrivetError.title
    assert 400 <= kind.status < 600
    assert kind.exit_code in (1, 2, 3)
    assert kind.__doc__


def test_what_is_down_has_its_own_exit_code() -> None:
    """So that a script can wait and try again, and does not where a check refused."""
    down = {kind.__name__ for kind in family() if kind.exit_code == 3}
    assert {"RegistryUnavailable", "FeaturesUnavailable", "ServiceUnreachable"} <= down
    assert errors.ReleaseRefused.exit_code == 1


def test_the_hint_stands_apart_from_the_sentence() -> None:
    """A terminal shows it in another colour, a problem document in another field."""
    err = NoChampion("shop")
    assert err.sentence == "shop has no champion yet."
    assert err.hint == "Release one: trivet promote shop VERSION."
    assert str(err) == f"{err.sentence} {err.hint}"


def test_many_faults_are_summed_up_and_kept() -> None:
    """The sentence stays short; the faults go into the answer."""
    faults = [Fault(row=4, field="age", detail="age is required"), Fault(detail="b")]
    err = InvalidInstances(faults)
    assert err.sentence == "Row 4: age is required (and 1 more)"
    assert err.faults == tuple(faults)
    assert InvalidInstances([Fault(detail="b")]).sentence == "b"


def test_a_limit_names_the_setting_that_raises_it() -> None:
    """Nobody has to search for it."""
    err = RequestTooLarge(what="rows", got=10_000, most=1000, setting="TRIVET_MAX_ROWS")
    assert str(err) == (
        "The request has 10,000 rows; at most 1,000 are accepted. "
        "Send it in parts, or raise TRIVET_MAX_ROWS."
    )


def test_a_version_that_is_not_loaded_is_answered_with_those_that_are() -> None:
    """Also where none is."""
    assert "loaded versions: 1, 3." in str(VersionNotLoaded("shop", "version 2", [1, 3]))
    assert "loaded versions: none." in str(VersionNotLoaded("shop", "version 2", []))


def test_a_registrys_password_is_not_shown() -> None:
    """The address goes to terminals and logs."""
    err = RegistryUnavailable("postgresql://ann:secret@db/mlflow", OSError("refused"))
    assert "secret" not in str(err)
    assert "postgresql://…@db/mlflow" in str(err)
    assert "sqlite:///mlflow.db" in str(RegistryUnavailable("sqlite:///mlflow.db", OSError()))


@pytest.mark.parametrize(("version", "named"), [(None, "of shop does"), (3, "of shop version 3")])
def test_a_mismatch_keeps_its_differences(version: int | None, named: str) -> None:
    """Before registration there is no version to name."""
    difference = Difference(column="users:age", aspect="dtype", contract="int64", feast="string")
    err = errors.ContractMismatch("shop", version, [difference])
    assert named in err.sentence
    assert "1 difference(s)" in err.sentence
    assert err.differences == (difference,)


def test_a_refusal_by_gates_says_what_each_of_them_said() -> None:
    """On a terminal, where that stands above it already, only which refused."""
    err = errors.GatesRefused("shop", 3, {"metrics": ["auc 0.6 is low."], "latency": ["Slow."]})
    assert err.sentence == (
        "shop version 3 is not released. metrics: auc 0.6 is low.; latency: Slow."
    )
    assert err.summary == (
        "shop version 3 is not released: refused by metrics, latency. Nothing was changed."
    )
    assert "--force --reason" in (err.hint or "")
    final = errors.GatesRefused("shop", 3, {"golden": ["Corrupt."]}, final=["golden"])
    assert final.hint == "What golden found cannot be forced: release another version."


def test_a_bad_policy_names_the_file_alone_where_there_is_no_key() -> None:
    """It is no TOML, or cannot be read."""
    whole = errors.BadPolicy("release-policy.toml", "", "it is not TOML", "Mend it.")
    assert whole.sentence == "release-policy.toml: it is not TOML."
    part = errors.BadPolicy("release-policy.toml", "models.a", "a key is wrong", "Mend it.")
    assert part.sentence == "release-policy.toml, models.a: a key is wrong."


@pytest.mark.parametrize(
    "address",
    [
        "http://ann:hidden@mlflow.example:5000/api",
        "postgresql+psycopg://ann:hid@den@db/mlflow",
        "postgresql+psycopg://ann:hidden/hidden@db:5432/mlflow",
        "postgresql+psycopg://db/mlflow?user=ann&password=hidden&sslmode=require",
        "mysql://db/mlflow?ssl_ca=ca.pem&sslpassword=hidden",
        "403 Client Error for url: https://ann:hidden@mlflow.example/api?token=hidden.",
        "FATAL: bad option in 'host=db password=hidden user=ann'",
    ],
)
def test_no_password_of_an_address_is_shown(address: str) -> None:
    """Wherever in a sentence it stands; what helps to find the server stays."""
    shown = without_secrets(address)
    assert "hid" not in shown
    assert any(host in shown for host in ("mlflow.example", "db"))


@pytest.mark.parametrize("text", ["sqlite:////srv/mlflow.db", "s3://bucket/a", "ann@example.org"])
def test_what_has_no_password_is_shown_whole(text: str) -> None:
    """A path and a bucket are what one has to know."""
    assert without_secrets(text) == text
