"""The benchmarks' own parts do what they say: a wrong harness gives figures that look right."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.micro import test_log as micro_log
from benchmarks.serving import bodies, load, openloop, picture, report, results
from benchmarks.serving.callers import frame_of
from benchmarks.serving.forest import CLASSES, FEATURES, names, split
from benchmarks.serving.results import Curve, Point, Results, Spread, Throughput, ratios
from benchmarks.serving.targets import judge
from trivet.contract import Classification, Column, JoinKey, View
from trivet.serving.log.rows import Rows
from unit.fakes import shop


def test_the_schedule_is_the_same_for_every_server_and_keeps_the_rate():
    """Arrivals are random, and drawn from a seed."""
    due = openloop.schedule(2000, 5, seed=3)
    assert due == openloop.schedule(2000, 5, seed=3) != openloop.schedule(2000, 5, seed=4)
    assert due == sorted(due)
    assert len(due) == pytest.approx(10_000, rel=0.05)


def test_ratios_are_taken_within_a_round_before_their_median():
    """The median of the ratios is not the ratio of the medians."""
    ours, others = [10.0, 40.0, 90.0], [10.0, 80.0, 30.0]
    assert ratios(ours, others) == Spread(median=1.0, least=0.5, most=3.0, rounds=3)
    with pytest.raises(ValueError, match="zip"):
        ratios(ours, others[:2])


def throughput(name: str, rates: list[float], limit: list[float]) -> Throughput:
    """Return a row of a table."""
    times = Spread.of([1.0])
    return Throughput(
        name=name,
        title=name.title(),
        workers=2,
        pinned=False,
        rows=1,
        rates=tuple(rates),
        per_second=Spread.of(rates),
        p50_ms=times,
        p99_ms=times,
        of_limit=ratios(rates, limit),
    )


def document(**parts: object) -> Results:
    """Return a run's document."""
    limit = [1000.0, 1200.0, 900.0]
    rows = {"limit": limit, "trivet-value": [800.0, 840.0, 720.0], "mlflow": [100.0, 30.0, 40.0]}
    return Results.model_validate(
        {
            "made_at": datetime(2026, 6, 1, tzinfo=UTC),
            "quick": False,
            "seconds": 3.0,
            "connections": 64,
            "machine": results.this_machine(0.5),
            "versions": results.these_versions(),
            "throughput": [throughput(name, rates, limit) for name, rates in rows.items()],
            **parts,
        }
    )


def test_a_document_is_read_as_it_was_written(tmp_path):
    """With the machine, the versions and the spread of every figure."""
    path = tmp_path / "reports" / "usual.json"
    results.write(path, document())
    found = results.read(path)
    assert found == document()
    assert found.machine.cores
    assert {"trivet", "mlflow", "feast", "bentoml", "onnxruntime"} <= found.versions.keys()
    assert found.throughput[1].per_second == Spread(median=800, least=720, most=840, rounds=3)


def test_a_document_with_other_fields_is_refused():
    """A reader does not guess."""
    with pytest.raises(ValidationError, match="nonsense"):
        document(nonsense=1)
    with pytest.raises(ValidationError, match="schema_version"):
        document(schema_version=2)


def test_targets_are_held_against_ratios_of_the_same_round():
    """What is reached and what is not, with the spread."""
    found = {target.what: target for target in judge(document())}
    of_limit = found["Trivet-Value, 2 workers: of the limit"]
    assert of_limit.reached
    assert of_limit.found == "0.80 (0.70 to 0.80)"
    beside_mlflow = found["Trivet-Value, 2 workers: times Mlflow"]
    assert not beside_mlflow.reached
    assert beside_mlflow.found == "18.00 (8.00 to 28.00)"


def test_tables_and_pictures_hold_every_row(tmp_path):
    """The page is filled between its marks, as often as one likes."""
    one = document(
        curves=[
            Curve(
                name="Growth",
                axis="rows",
                unit="rows/s",
                points=tuple(
                    Point(x=x, per_second=Spread.of([x]), p50_ms=Spread.of([1.0])) for x in (1, 10)
                ),
            )
        ]
    )
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    for _ in range(2):
        report.fill(page, report.tables(one))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| Trivet-Value | 800 (720 to 840) | 0.80 (0.70 to 0.80) |") == 1
    picture.draw_throughput(one, tmp_path / "bars.png")
    picture.draw_curve(one.curves[0], tmp_path / "curve.png")
    assert (tmp_path / "bars.png").stat().st_size > 10_000
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_everybody_is_asked_about_the_same_rows():
    """In the form that each takes; of many rows, in their order."""
    rows = np.arange(60, dtype=np.float64).reshape(3, 20)
    assert [list(i.values()) for i in bodies.by_value(rows, [2, 0])["instances"]] == [
        rows[2].tolist(),
        rows[0].tolist(),
    ]
    assert bodies.as_matrix(rows, [1])["x"] == [rows[1].tolist()]
    assert bodies.for_mlflow(rows, [1])["dataframe_split"]["data"] == [rows[1].tolist()]
    assert bodies.for_protocol(rows, [1])["inputs"][0]["data"] == rows[1].tolist()
    assert bodies.by_key(rows, [2])["instances"] == [{"user_id": "u0000002", "item_id": 2}]
    assert bodies.for_feast(rows, [2])["entities"] == {"user_id": ["u0000002"], "item_id": [2]}


def test_the_chain_hands_features_on_by_name_in_the_models_order():
    """Feast gives them in any order."""
    answer = {
        "metadata": {"feature_names": ["user_id", "feature_001", "feature_000"]},
        "results": [{"values": ["u1"]}, {"values": [1.5]}, {"values": [0.5]}],
    }
    assert frame_of(answer) == (
        b'{"dataframe_split": {"columns": ["feature_000", "feature_001"], "data": [[0.5, 1.5]]}}'
    )


def test_the_views_share_the_features_among_them():
    """Each feature is in one view, for any number of them from five on."""
    for features in (5, 20, 200):
        views = split(features)
        assert [name for part in views.values() for name in part] == names(features)
        assert len(views) == 4
        assert all(views.values())


def test_the_entry_of_the_logs_benchmark_has_rows():
    """As requests have them today: only the benchmark would tell otherwise, and it is run by hand."""
    views = split(FEATURES)
    contract = shop(
        join_keys=(
            JoinKey(name="user_id", dtype="string"),
            JoinKey(name="item_id", dtype="int64"),
        ),
        views=tuple(View(name=view, join_keys=("user_id",)) for view in views),
        columns=tuple(
            Column(name=name, source=f"{view}:{name}", dtype="float64", absent="null")
            for view, part in views.items()
            for name in part
        ),
        output=Classification(classes=CLASSES),
    )
    asked = micro_log.entry(contract, contract.digest, rows=3)
    found = Rows(contract, contract.digest).batch([asked, asked]).to_pylist()
    assert [row["item_id"] for row in found] == [0, 1, 2] * 2
    values = asked.features.values["feature_000"]
    assert [row["user_now__feature_000"] for row in found] == values * 2
    assert {row["trivet__class_id"] for row in found} == {1}


def test_without_wrk_it_is_said_how_to_get_it(monkeypatch):
    """The benchmarks need it; nothing else does."""
    monkeypatch.setattr(load.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        load.wrk()
