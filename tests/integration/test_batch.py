"""A batch job answers as the service does, each row once, whatever happens to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from integration.batching import (
    FIELDS,
    Scored,
    compare,
    filled_shop,
    instances,
    later,
    questions,
)
from integration.skewed import HOUR, NOON, user
from trivet.batch.engines import in_process, in_processes
from trivet.batch.folder import OutputFolder
from trivet.batch.limits import MostRejects
from trivet.batch.on_ray import on_ray
from trivet.errors import (
    BadSetting,
    ChunkFailed,
    CodeNotCarried,
    ContractMismatch,
    JobBusy,
    JobDiffers,
    OutputFailed,
    TooManyRejects,
)

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an exp:RuntimeWarning")


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scored:
    """Return a filled shop with a live version."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Scored(filled_shop(tmp_path / "shop"))


def test_online_values_give_what_the_service_answers(scored: Scored) -> None:
    """All policies, nulls, unknown entities and expired values included; nothing is rounded."""
    scored.shop.materialize(NOON)
    rows = questions(300, at=NOON)
    scored.run(rows, at=later(NOON, 30), online=True, moment="now")
    compare(scored.predictions(), scored.ask(later(NOON, 30), instances(rows)))


def test_values_of_the_past_are_what_the_service_answered_then(scored: Scored) -> None:
    """At each moment up to which values were brought online, in one job for all of them."""
    moments = [NOON - 3 * HOUR, NOON - HOUR, NOON]
    parts = [questions(120, at=moment) for moment in moments]
    scored.run(pa.concat_tables(parts))
    table = scored.predictions()
    for n, (moment, rows) in enumerate(zip(moments, parts, strict=True)):
        scored.shop.materialize(moment)
        compare(table.slice(n * 120, 120), scored.ask(moment, instances(rows)))


def test_the_output_says_which_row_which_version_and_which_features(scored: Scored) -> None:
    """Keys and moment go along; what the model was given is there on request, before and after."""
    scored.run(questions(20), with_features=True)
    table = scored.predictions()
    features = [f"features.{column.name}" for column in scored.contract.columns]
    own = ["user_id", "product_id", "event_timestamp"]
    last = ["missing", "model_version", "contract_digest"]
    assert table.column_names == ["row", *own, *FIELDS, *last, *features]
    assert table["row"].to_pylist() == list(range(20))
    assert set(table["contract_digest"].to_pylist()) == {scored.contract.digest}
    # A default stands in where there is none, and is what the model was given.
    segments = zip(table["features.segment"], table["missing"], strict=True)
    assert all(("segment" in gone.as_py()) == (s.as_py() == "none") for s, gone in segments)


def test_chunks_and_processes_change_nothing(scored: Scored) -> None:
    """The concatenated rows are the same for one chunk, for many, and from two processes."""
    rows = questions(250)
    scored.run(rows)
    once = scored.predictions()
    scored.run(rows, out=scored.root / "many", rows_per_chunk=40)
    engine = in_processes(2)
    scored.run(rows, out=scored.root / "two", rows_per_chunk=40, engine=engine)
    assert scored.predictions(scored.root / "many").equals(once)
    for name in ("predictions", "_trivet/chunks"):
        for file in sorted((scored.root / "many" / name).iterdir()):
            assert file.read_bytes() == (scored.root / "two" / name / file.name).read_bytes()


# Ray leaves files and sockets of its own for its end to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("started", ["for it", "by another process"])
def test_ray_writes_the_same_files(scored: Scored, started: str) -> None:
    """Each task joins and writes its own chunk, on a cluster of the job's own or by its address."""
    scored.run(questions(200), out=scored.root / "once", rows_per_chunk=50)
    if started == "for it":
        scored.run(rows_per_chunk=50, engine=on_ray(None, _RAY))
    else:
        with _cluster() as address:
            scored.run(rows_per_chunk=50, engine=on_ray(address))
    for name in ("predictions", "_trivet/chunks"):
        for file in sorted((scored.root / "once" / name).iterdir()):
            assert file.read_bytes() == (scored.out / name / file.name).read_bytes()


def test_what_fails_in_a_process_is_said_as_it_is_here(scored: Scored) -> None:
    """With its title, its sentence and its exit code; what is done stays."""
    scored.run(questions(30), rows_per_chunk=10)
    scored.shop.source("users").unlink()
    (scored.out / "predictions" / "part-00001.parquet").unlink()
    with pytest.raises(ChunkFailed, match="A source cannot be joined") as caught:
        scored.run(rows_per_chunk=10, engine=in_processes(2))
    assert (caught.value.title, caught.value.exit_code) == ("Features unavailable", 3)
    assert len(scored.predictions()) == 20


def test_events_are_asked_the_contracts_lead_before(tmp_path: Path) -> None:
    """A column of events stands for moments that lie as long before as the contract says."""
    shop = filled_shop(tmp_path / "shop")
    scored = Scored(shop, shop.contract().model_copy(update={"lead_seconds": 3600.0}))
    rows = questions(60)
    scored.run(rows)
    moved = pc.add(rows["event_timestamp"], pa.scalar(HOUR, pa.duration("us")))
    events = rows.drop_columns(["event_timestamp"]).append_column("starts_at", moved)
    scored.run(events, out=scored.root / "events", moment="event", timestamp="starts_at")
    again = scored.predictions(scored.root / "events")
    assert again.select(FIELDS).equals(scored.predictions().select(FIELDS))


def test_bad_rows_are_rejected_with_their_reason_and_the_others_answered(scored: Scored) -> None:
    """An absent key or moment, a value that is none, and one that the version's code cannot take."""
    good = questions(8)
    frame = good.to_pandas()
    frame.loc[1, "user_id"] = None
    frame.loc[2, "event_timestamp"] = pd.NaT
    frame["product_id"] = frame["product_id"].astype(float)
    frame.loc[3, "product_id"] = 1.5
    frame.loc[4, "amount"] = np.inf
    frame.loc[5, "amount"] = np.nan
    frame.loc[6, "amount"] = 1e18
    outcome = scored.run(pa.Table.from_pandas(frame), most_rejects=MostRejects(count=6))
    assert (outcome.predicted, outcome.rejected) == (2, 6)
    assert [(reject["row"], reject["field"]) for reject in scored.rejects()] == [
        (1, "user_id"),
        (2, "event_timestamp"),
        (3, "product_id"),
        (4, "amount"),
        (5, "amount"),
        (6, None),
    ]
    reasons = [reject["reason"] for reject in scored.rejects()]
    assert reasons[0] == "user_id is required"
    assert "a whole number of 64 bits is expected, not 1.5" in reasons[2]
    assert "a finite number is expected" in reasons[3]
    assert "that is too much" in reasons[5]
    scored.run(good, out=scored.root / "good")
    kept = scored.predictions(scored.root / "good").take([0, 7])
    assert scored.predictions().select(FIELDS).equals(kept.select(FIELDS))


def test_an_absent_feature_whose_policy_is_reject_rejects_its_row(tmp_path: Path) -> None:
    """With the keys and the moment for which there is none; the service refuses the same rows."""
    shop = filled_shop(tmp_path / "shop")
    contract = shop.contract()
    columns = [
        c.model_copy(update={"absent": "reject"}) if c.name == "loyal" else c
        for c in contract.columns
    ]
    scored = Scored(shop, contract.model_copy(update={"columns": tuple(columns)}))
    rows = questions(40, at=NOON)
    outcome = scored.run(rows, most_rejects=MostRejects(count=40))
    assert 0 < outcome.rejected < 40
    refused = {reject["row"] for reject in scored.rejects()}
    assert {reject["field"] for reject in scored.rejects()} == {"loyal"}
    assert "older than 7200 s, or null for user_id='u" in scored.rejects()[0]["reason"]
    shop.materialize(NOON)
    left = rows.take([n for n in range(40) if n not in refused])
    compare(scored.predictions(), scored.ask(NOON, instances(left)))


def test_beyond_the_limit_the_job_stops_and_keeps_what_it_has(scored: Scored) -> None:
    """With a higher limit it goes on from there; no mark of a whole job stands before."""
    rows = questions(100)
    bad = pa.array(
        [None if n % 20 == 3 else amount for n, amount in enumerate(rows["amount"].to_pylist())]
    )
    rows = rows.set_column(2, "amount", bad)
    with pytest.raises(TooManyRejects, match="3 of the first 60 rows were rejected, and at most 2"):
        scored.run(rows, rows_per_chunk=20, most_rejects=MostRejects(share=0.02))
    assert len(scored.predictions()) == 57
    assert not (scored.out / "_SUCCESS.json").exists()
    with pytest.raises(TooManyRejects):
        scored.run(rows_per_chunk=20, most_rejects=MostRejects(share=0.02))
    outcome = scored.run(rows_per_chunk=20, most_rejects=MostRejects(share=0.05))
    assert (outcome.resumed_rows, outcome.rejected, scored.notes.rows) == (60, 5, 40)


def test_a_finished_job_is_told_as_it_is(scored: Scored) -> None:
    """Asked again, nothing is done anew; the mark of success names every file and its digest."""
    scored.run(questions(50), rows_per_chunk=20)
    before = {f: f.stat().st_mtime_ns for f in scored.out.rglob("*.parquet")}
    outcome = scored.run(rows_per_chunk=20)
    assert (outcome.rows, outcome.resumed_rows) == (50, 50)
    assert before == {f: f.stat().st_mtime_ns for f in scored.out.rglob("*.parquet")}
    success = json.loads((scored.out / "_SUCCESS.json").read_text())
    assert {scored.out / file["path"] for file in success["files"]} == set(before)
    assert success["predicted"] == 50


def test_another_job_is_refused_and_nothing_is_lost(scored: Scored) -> None:
    """Other rows, another version of the contract, and other options, each by its name."""
    scored.run(questions(50), rows_per_chunk=20)
    before = scored.predictions()
    with pytest.raises(JobDiffers, match="rows per chunk 20, not 30"):
        scored.run(rows_per_chunk=30)
    with pytest.raises(JobDiffers, match="entity file sha256"):
        scored.run(questions(51), rows_per_chunk=20)
    with pytest.raises(JobDiffers, match="with features False, not True"):
        scored.run(questions(50), rows_per_chunk=20, with_features=True)
    assert scored.predictions().equals(before)


def test_a_damaged_chunk_is_noticed_and_done_anew(scored: Scored) -> None:
    """A file that was changed, one that was cut, and one that is gone."""
    scored.run(questions(100), rows_per_chunk=20)
    before = {f: f.read_bytes() for f in (scored.out / "predictions").iterdir()}
    first, second, third, *_ = sorted(before)
    first.write_bytes(before[first][:-1] + b"x")
    second.write_bytes(before[second][:100])
    third.unlink()
    outcome = scored.run(rows_per_chunk=20)
    assert outcome.resumed_rows == 40
    assert len(scored.notes.sentences) >= 3
    assert before == {f: f.read_bytes() for f in (scored.out / "predictions").iterdir()}


def test_a_job_whose_sources_have_changed_is_not_mixed(scored: Scored) -> None:
    """What was joined before and what would be now do not fit together; brought back, it goes on."""
    rows = questions(60)
    scored.run(rows, rows_per_chunk=20)
    whole = scored.predictions()
    old = scored.shop.source("users").read_bytes()
    scored.shop.learn("users", user("u1", NOON - 3 * HOUR))
    (scored.out / "predictions" / "part-00001.parquet").unlink()
    with pytest.raises(OutputFailed, match="sources of users have changed"):
        scored.run(rows_per_chunk=20)
    scored.shop.source("users").write_bytes(old)
    scored.run(rows_per_chunk=20)
    assert scored.predictions().equals(whole)


def test_what_a_killed_run_joined_with_other_sources_is_done_anew(scored: Scored) -> None:
    """It may end after a chunk is written, before it is compared with those that were there."""
    scored.run(questions(300), rows_per_chunk=100)
    whole = scored.predictions()
    old = _change_users(scored)
    (scored.out / "predictions" / "part-00001.parquet").unlink()

    def killed(worker, chunks, progress):
        with worker:
            yield from ()
            worker.work(chunks[0], progress)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored.run(rows_per_chunk=100, engine=killed)
    assert not scored.predictions().equals(whole)
    with pytest.raises(OutputFailed, match="sources of users have changed"):
        scored.run(rows_per_chunk=100)
    with pytest.raises(KeyboardInterrupt):
        scored.run(rows_per_chunk=100, engine=killed)
    scored.shop.source("users").write_bytes(old)
    assert scored.run(rows_per_chunk=100).resumed_rows == 200
    assert any("Rows 100 to 199 were joined with other" in said for said in scored.notes.sentences)
    assert scored.predictions().equals(whole)


def test_processes_leave_nothing_of_other_sources(scored: Scored) -> None:
    """They write on until they are told, and what they wrote is taken away."""
    scored.run(questions(300), rows_per_chunk=50)
    whole = scored.predictions()
    old = _change_users(scored)
    for chunk in range(1, 6):
        (scored.out / "predictions" / f"part-{chunk:05}.parquet").unlink()
    with pytest.raises(OutputFailed, match="sources of users have changed"):
        scored.run(rows_per_chunk=50, engine=in_processes(2))
    assert [f.name for f in (scored.out / "_trivet" / "chunks").iterdir()] == ["00000.json"]
    assert len(scored.predictions()) == 50
    scored.shop.source("users").write_bytes(old)
    assert scored.run(rows_per_chunk=50).resumed_rows == 50
    assert scored.predictions().equals(whole)


def test_an_entity_file_that_changes_under_a_job_leaves_nothing_of_both(scored: Scored) -> None:
    """What was done in this run is dropped; with the file as it was, the job goes on."""
    rows = questions(30)

    def changing(worker, chunks, progress):
        for record in in_process(worker, chunks, progress):
            os.utime(scored.entities, ns=(1, 1))
            yield record

    with pytest.raises(OutputFailed, match="has changed while the job ran"):
        scored.run(rows, rows_per_chunk=10, engine=changing)
    assert not list(scored.out.rglob("*.parquet"))
    assert scored.run(rows_per_chunk=10).predicted == 30


def test_two_jobs_do_not_work_in_one_folder(scored: Scored) -> None:
    """The second is told that there is a first."""
    rows = questions(10)
    with OutputFolder(scored.out).locked(), pytest.raises(JobBusy, match="Another process"):
        scored.run(rows)
    assert scored.run(rows).predicted == 10


def test_a_job_sweeps_what_killed_ones_have_left_in_the_home(scored: Scored) -> None:
    """Where joins went to disk; it leaves nothing of its own there."""
    left = scored.settings.home / "batch-of-one-that-was-killed"
    left.mkdir()
    (left / "spill.tmp").write_bytes(b"much")
    scored.run(questions(10))
    assert not list(scored.settings.home.glob("batch-*"))


def test_a_folder_of_something_else_is_left_alone(scored: Scored) -> None:
    """Whatever lies there."""
    scored.out.mkdir()
    (scored.out / "thesis.txt").write_text("all of it")
    with pytest.raises(BadSetting, match=r"holds something else: thesis\.txt"):
        scored.run(questions(10))
    assert [file.name for file in scored.out.iterdir()] == ["thesis.txt"]


def test_a_full_disk_stops_the_job_and_leaves_no_half_file(scored: Scored) -> None:
    """The system refuses to let a file grow; with room again the job goes on to the same result."""
    rows = questions(3_000)
    scored.run(rows, out=scored.root / "undisturbed", rows_per_chunk=1_000)
    with _files_up_to(10_000), pytest.raises(OutputFailed, match="cannot be written"):
        scored.run(rows_per_chunk=1_000)
    assert [f for f in scored.out.rglob("*") if f.suffix == ".parquet" or "partial" in f.name] == []
    scored.run(rows_per_chunk=1_000)
    assert scored.predictions().equals(scored.predictions(scored.root / "undisturbed"))


def test_partitions_hold_every_row_once(scored: Scored) -> None:
    """In folders by column and value, a null too; resumed without a file too many."""
    rows = questions(90)
    scored.run(rows)
    scored.run(
        rows,
        out=scored.root / "parts",
        partition_by=("kind", "user_id"),
        rows_per_chunk=40,
        compression="snappy",
    )
    found = scored.predictions(scored.root / "parts")
    once = scored.predictions()
    assert found.select(once.column_names).cast(once.schema).equals(once)
    assert (scored.root / "parts" / "predictions" / "kind=odd" / "user_id=u1").is_dir()


def test_a_column_of_the_file_overrides_a_feature_where_it_has_a_value(scored: Scored) -> None:
    """As a caller's does in the service; a column that nobody has named is refused."""
    scored.shop.materialize(NOON)
    rows = questions(80, at=NOON)
    own = pa.array([None if n % 3 else 50.0 + n for n in range(80)])
    with_own = rows.append_column("income", own).append_column("gross", own)
    with pytest.raises(BadSetting, match="has gross, income, and so has the contract"):
        scored.run(with_own)
    scored.run(with_own, overrides=("income", "gross"))
    asked = [
        one | ({} if value is None else {"income": value, "gross": value})
        for one, value in zip(instances(rows), own.to_pylist(), strict=True)
    ]
    compare(scored.predictions(), scored.ask(NOON, asked))


def test_what_happened_is_scored(scored: Scored) -> None:
    """Of the rows that have a label; without one there is no quality."""
    rows = questions(40)
    scored.run(rows)
    values = scored.predictions()["value"].to_pylist()
    labels = pa.array([None if n == 3 else value + 2 for n, value in enumerate(values)])
    labelled = rows.append_column("happened", labels)
    outcome = scored.run(labelled, out=scored.root / "l", label="happened", rows_per_chunk=15)
    assert outcome.quality["labelled_rows"] == 39
    assert outcome.quality["mae"] == pytest.approx(2.0)
    nothing = rows.append_column("happened", pa.nulls(40, pa.float64()))
    assert scored.run(nothing, out=scored.root / "n", label="happened").quality == {}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop_columns(["event_timestamp"]), "no column event_timestamp"),
        (lambda t: t.drop_columns(["product_id"]), "no column product_id"),
        (lambda t: t.drop_columns(["amount"]), "no column amount"),
        (
            lambda t: t.set_column(3, "event_timestamp", pa.array(["2026"] * len(t))),
            "timestamp is needed",
        ),
        (lambda t: t.set_column(1, "product_id", pa.array(["p"] * len(t))), "int64 is needed"),
        (lambda t: t.set_column(0, "user_id", pa.array(range(len(t)))), "string is needed"),
        (lambda t: t.append_column("value", pa.array(range(len(t)))), None),
    ],
)
def test_a_file_that_cannot_fit_is_refused_before_anything_is_done(
    scored: Scored, change, sentence: str | None
) -> None:
    """With the column and its type; the folder stays free for the next try."""
    rows = change(questions(10))
    if sentence is None:
        with pytest.raises(BadSetting, match="would have value twice"):
            scored.run(rows, keep=("*",))
    else:
        with pytest.raises(BadSetting, match=sentence):
            scored.run(rows)
    assert not list(scored.out.rglob("*.json"))
    assert scored.run(questions(10), rows_per_chunk=7).predicted == 10


def test_what_is_no_parquet_is_said_to_be_unreadable(scored: Scored) -> None:
    """A file of something else, one that is cut, and none at all."""
    scored.entities.write_text("user_id,amount\nu1,3\n")
    with pytest.raises(BadSetting, match="cannot be read"):
        scored.run()
    pq.write_table(questions(10), scored.entities)
    scored.entities.write_bytes(scored.entities.read_bytes()[:-9])
    with pytest.raises(BadSetting, match="cannot be read"):
        scored.run()
    scored.entities.unlink()
    with pytest.raises(BadSetting, match="cannot be read"):
        scored.run()


def test_no_rows_make_an_output_of_none(scored: Scored) -> None:
    """With the columns of any other."""
    outcome = scored.run(questions(5).slice(0, 0))
    assert (outcome.rows, len(scored.predictions())) == (0, 0)
    scored.run(questions(5), out=scored.root / "some")
    assert scored.predictions().schema == scored.predictions(scored.root / "some").schema


def test_now_is_the_moment_of_the_jobs_start_also_when_it_goes_on_later(scored: Scored) -> None:
    """What became known since does not count."""
    rows = questions(40).drop_columns(["event_timestamp"])
    scored.run(rows, at=NOON, moment="now", rows_per_chunk=10)
    once = scored.predictions()
    shutil.rmtree(scored.out / "predictions")
    outcome = scored.run(at=NOON + 5 * HOUR, moment="now", rows_per_chunk=10)
    assert outcome.job.started == NOON
    assert scored.predictions().equals(once)


def test_the_order_and_the_form_of_the_file_do_not_matter(scored: Scored) -> None:
    """Small row groups, dictionaries, nanoseconds and times without a zone."""
    rows = questions(100)
    scored.run(rows)
    moments = rows["event_timestamp"].cast(pa.timestamp("ns"))
    other = rows.set_column(3, "event_timestamp", moments)
    other = other.set_column(0, "user_id", rows["user_id"].dictionary_encode())
    pq.write_table(other, scored.entities, row_group_size=7)
    scored.run(out=scored.root / "other", rows_per_chunk=30)
    again = scored.predictions(scored.root / "other")
    assert again.select(FIELDS).equals(scored.predictions().select(FIELDS))


def test_a_changed_on_demand_view_and_foreign_code_are_refused(scored: Scored) -> None:
    """As a service refuses them."""
    held = scored.settings.model_copy(update={"own_code_only": True})
    scored.settings, open_to_all = held, scored.settings
    with pytest.raises(CodeNotCarried):
        scored.run(questions(10))
    scored.settings = open_to_all
    scored.shop.apply(("1.19", "1.07"))
    with pytest.raises(ContractMismatch):
        scored.run(questions(10))


_RAY = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "_memory": 2**30}
_HOST = f"""
import sys, ray

said = ray.init(address="local", include_dashboard=False, **{_RAY!r})
print("address", said.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


@contextmanager
def _cluster() -> Iterator[str]:
    """Have another process start a cluster, on ports that are free, and end it."""
    command = [sys.executable, "-c", _HOST]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet, text=True) as host:
        assert host.stdout is not None
        yield next(line.split()[1] for line in host.stdout if line.startswith("address "))
        host.communicate("", timeout=60)


def _change_users(scored: Scored) -> bytes:
    """Have all users become known otherwise, three hours ago; return the file as it was."""
    old = scored.shop.source("users").read_bytes()
    for number in range(60):
        scored.shop.learn("users", user(f"u{number}", NOON - 3 * HOUR, income=7.5))
    return old


@contextmanager
def _files_up_to(most: int) -> Iterator[None]:
    """Have the system refuse to let any file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
