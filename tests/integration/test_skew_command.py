"""`trivet skew`: a table, examples, a picture beside the training set, and an exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import trivet
from integration.skewed import HOUR, MINUTE, MODEL, NOON, SERVICE, Shop, product, user
from trivet import cli
from trivet.contract import Column, Regression
from trivet.registry.client import connect
from trivet.registry.download import read_contract

# Feast calls on-demand views experimental whenever one is applied.
pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an exp:RuntimeWarning")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a shop that knows fifty users, and go there."""
    made = Shop(tmp_path / "shop")
    made.know("users", [user(f"u{n}", NOON - HOUR, income=1000.0 + n) for n in range(50)])
    made.know("products", [product(1, NOON - HOUR)])
    made.materialize(NOON)
    monkeypatch.chdir(made.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the command as a shell does."""
    # Not by COLUMNS: where that is set when the console is made, it stays as it was.
    monkeypatch.setattr("trivet.cli.output.out._width", 200)

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["trivet", "skew", MODEL, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return command


def ask(shop: Shop, at: Any = NOON, contract: Any = None) -> None:
    """Have a prediction for every user logged."""
    with shop.serving(1, contract) as serving:
        serving.ask(at, *({"user_id": f"u{n}"} for n in range(50)))


def test_without_skew_it_ends_with_0(shop: Shop, run: Run) -> None:
    """Lag is shown, and is none."""
    shop.learn("users", user("u7", NOON + MINUTE, income=1.0))
    ask(shop, NOON + 2 * MINUTE)
    code, out, err = run("--no-picture")
    assert code == 0
    assert "shop: 50 of version 1" in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["income"]]
    assert line.split() == ["income", "50", "49", "1", "0.00%"]
    assert ["lag", "income", "r0", "7", "user_id=u7", "1007.0", "1.0"] in [
        line.split()[:7] for line in out.splitlines()
    ]
    assert err == ""


def test_over_the_threshold_it_ends_with_1(shop: Shop, run: Run) -> None:
    """Of a column's own values; its name and share stand on standard error."""
    ask(shop)
    shop.know("users", [user(f"u{n}", NOON - HOUR, income=1000.0 + (n or 9)) for n in range(50)])
    code, out, err = run("--no-picture")
    assert code == 1
    assert "changed since" in out
    assert "income: 2.00% is skewed, over the threshold of 1.00%." in err
    assert run("--no-picture", "--threshold", "0.02")[0] == 0
    assert run("--no-picture", "--threshold", "0.0199")[0] == 1


def test_what_feast_no_longer_says_stands_below(shop: Shop, run: Run) -> None:
    """The reason for what is above."""
    ask(shop)
    shop.apply(("1.19 * amount", "1.07 * amount"))
    code, out, _ = run("--no-picture")
    assert code == 1
    assert "Feast is no longer as the contract says" in out
    assert "on-demand code" in out


def test_json_has_it_all_and_lies_in_a_file(shop: Shop, run: Run) -> None:
    """Also when nothing else is wanted."""
    ask(shop)
    shop.know("users", [user(f"u{n}", NOON - HOUR, income=9.0) for n in range(50)])
    code, out, _ = run("--json", "--no-picture", "--out", "elsewhere")
    found = json.loads(out)
    assert code == 1
    assert json.loads((shop.root / "elsewhere" / "skew.json").read_text()) == found
    assert (found["model"], found["rows"], found["versions"]) == ("shop", 50, {"1": 50})
    assert found["over"] == ["income", "burden"]
    assert found["columns"][0]["causes"] == {"changed since": 50}
    assert (found["columns"][0]["skewed"], found["columns"][0]["share"]) == (50, 1.0)
    assert [one["offline"] for one in found["examples"] if one["column"] == "income"] == [9.0] * 3
    assert found["picture"] is None


def test_nothing_logged_ends_with_2(shop: Shop, run: Run) -> None:
    """And says what to look at."""
    code, _, err = run()
    assert code == 2
    assert "No logged prediction of shop fits." in err


def test_without_a_training_set_serving_is_drawn_alone(shop: Shop, run: Run) -> None:
    """Here there is no MLflow; nor is one made."""
    ask(shop)
    code, out, _ = run()
    assert code == 0
    assert out.splitlines()[-1] == str(shop.root / "reports" / "shop" / "skew.png")
    assert size(shop) > (600, 1000)
    assert not (shop.root / "mlflow.db").exists()


def test_the_training_set_of_the_version_is_drawn_beside_it(
    shop: Shop, run: Run, empty_registry: Path
) -> None:
    """Made again from its run; and still, where its sources have changed."""
    shutil.copyfile(empty_registry, shop.root / "mlflow.db")
    client = connect(shop.settings)
    version = register(shop)
    contract = read_contract(client, MODEL, version)
    with shop.serving(version, contract) as serving:
        serving.ask(NOON, *({"user_id": f"u{n}"} for n in range(50)))
    assert run()[0] == 0
    before = (shop.root / "reports" / "shop" / "skew.png").read_bytes()
    shop.know("users", [user(f"u{n}", NOON - HOUR, income=9.0 + n) for n in range(50)])
    code, out, _ = run("--json")
    assert code == 1
    assert Path(json.loads(out)["picture"]).read_bytes() != before


def size(shop: Shop) -> tuple[int, int]:
    """Return the picture's height and width."""
    height, width, _ = matplotlib.image.imread(shop.root / "reports" / "shop" / "skew.png").shape
    return height, width


def register(shop: Shop) -> int:
    """Register a model of income and visits with its training set."""
    columns = [
        Column(name="income", source="users:income", dtype="float64", absent="null"),
        Column(name="visits", source="users:visits", dtype="int64", absent="null"),
    ]
    entities = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(50)],
            "event_timestamp": pd.Series([NOON] * 50, dtype="datetime64[us, UTC]"),
        }
    )
    made = trivet.training_set(shop.settings, entities, SERVICE, columns=columns, progress=False)
    inputs = made.frame[["income", "visits"]].astype("float64")
    candidate = trivet.Candidate(
        model=MODEL,
        estimator=LinearRegression().fit(inputs, np.arange(50.0)),
        columns=columns,
        output=Regression(unit="EUR"),
        held_out=made.frame,
        bento=shop.root,
        offer=trivet.read_offer(shop.open(), SERVICE),
        training_set=made,
    )
    return trivet.register(shop.settings, candidate)
