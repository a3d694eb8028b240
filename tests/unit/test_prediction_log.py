"""A prediction's row says what was asked, what the store gave, what became of it, and what came out."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from trivet import cli
from trivet.contract import Classification, Column, Contract, Default, OnDemandView
from trivet.features.values import AbsentValue, Features, to_microseconds
from trivet.logged import (
    Status,
    log_folder,
    log_schema,
    logged_columns,
    open_folder,
)
from trivet.observe.log import read_log
from trivet.serving.asking import Asked
from trivet.serving.dataplane import DataPlane
from trivet.serving.log.entry import Answered, Entry
from trivet.serving.log.rows import Rows
from trivet.serving.log.segment import Segment, finished_path, read_open, recover
from trivet.serving.log.sweep import remove_expired
from trivet.serving.log.wire import Packer, Refused, Unpacker, frame, messages
from trivet.serving.log.writer import PredictionLog
from trivet.settings import Settings
from unit.fakes import (
    AGE,
    AMOUNT,
    INCOME,
    NOON,
    SEGMENT,
    FakeReader,
    FakeRecorder,
    ask,
    filled_slot,
    settings,
    shop,
    version,
)
from waiting import wait_for

KNOWN = NOON - timedelta(minutes=5, microseconds=1)
READ = NOON - timedelta(seconds=0.25)


class Counts:
    """Counts what was logged, and what was lost and why."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.written = 0
        self.lost: dict[str, int] = {}

    def logged(self, rows: int) -> None:
        """Count written rows."""
        self.written += rows

    def unlogged(self, rows: int, reason: str) -> None:
        """Count lost rows."""
        self.lost[reason] = self.lost.get(reason, 0) + rows


def sent_to(contract: Contract, asked: Asked) -> Asked:
    """Return what was asked of the shop as if another contract had taken it."""
    names = tuple(column.name for column in contract.request_columns)
    rows = [dict(zip(asked.names, row, strict=True)) for row in asked.sent]
    sent = [tuple(row.get(name) for name in names) for row in rows]
    return replace(asked, names=names, sent=sent)


def entry(request_id: str = "id", *instances: dict[str, Any], **changes: Any) -> Entry:
    """Return the entry of a request that was answered: by default of one row, nothing absent."""
    one = version(7)
    asked = sent_to(changes.get("contract", one.contract), one.check(list(instances) or [ask()]))
    read = Features(
        values={
            "income": [1000] * asked.rows,
            "age": [30.0] * asked.rows,
            "segment": ["gold"] * asked.rows,
        },
        absent=changes.pop("store_absent", ()),
        known={"users": [to_microseconds(KNOWN)] * asked.rows},
        read={"users": [to_microseconds(READ)] * asked.rows},
    )
    for value in read.absent:
        read.values[value.column.name][value.row] = None
    request = Answered(
        request_id=request_id,
        route=changes.pop("route", "champion"),
        rows=asked.rows,
        validate_seconds=0.1,
        features_seconds=0.2,
        total_seconds=0.4,
        kept=changes.pop("kept", True),
    )
    parts: dict[str, Any] = {
        "requests": [request],
        "asked_at": NOON,
        "contract": one.contract,
        "digest": one.digest,
        "version": 7,
        "asked": asked,
        "features": read,
        "absent": (),
        "columns": {},
        "predictions": [{"value": float(row)} for row in range(asked.rows)],
        "seconds": {"preprocess": 0.01},
    }
    return Entry(**{**parts, **changes})


def received(*entries: Entry) -> list[Entry]:
    """Return entries as the process that writes them gets them."""
    packer, unpacker = Packer(), Unpacker()
    stream = io.BytesIO(b"".join(packer.pack([one]) for one in entries))
    return [one for message in messages(stream) for one in unpacker.unpack(message)]


def rows_of(*entries: Entry) -> list[dict[str, Any]]:
    """Return the rows that entries of one contract become."""
    rows = Rows(entries[0].contract, entries[0].digest)
    made: list[dict[str, Any]] = rows.batch(received(*entries)).to_pylist()
    return made


# --- a row ----------------------------------------------------------------------------------------


def test_a_row_holds_what_was_asked_and_what_came_out() -> None:
    """With the features, and when each was known."""
    (row,) = rows_of(entry("r1"))
    assert row["__request_id"] == "r1"
    assert row["__log_timestamp"] == NOON
    assert row["__log_date"] == NOON.date()
    assert row["user_id"] == "u001"
    assert (row["amount"], row["quantity"]) == (20.0, 1)
    assert row["when"] == datetime(2026, 11, 22, 13, tzinfo=UTC)
    assert (row["users__income"], row["users__age"], row["users__segment"]) == (1000, 30.0, "gold")
    assert row["users__income__status"] == Status.PRESENT
    assert row["trivet__event_time__users"] == KNOWN
    assert row["trivet__read_time__users"] == READ
    assert row["users__age__timestamp"] == KNOWN.replace(microsecond=0)
    assert (row["trivet__version"], row["trivet__route"]) == (7, "champion")
    assert row["trivet__contract"] == shop().digest
    assert json.loads(row["trivet__output"]) == {"value": 0.0}
    assert row["trivet__value"] == 0.0
    assert row["trivet__seconds__features"] == 0.2
    assert row["trivet__seconds__predict"] is None
    assert row["trivet__seconds__total"] == 0.4


def test_rows_of_requests_stand_in_order_with_their_numbers() -> None:
    """Whatever the number of rows of each."""
    rows = rows_of(entry("a", ask(), ask()), entry("b"), entry("c", ask(), ask(), ask(amount=5)))
    assert [(r["__request_id"], r["trivet__row"]) for r in rows] == [
        *(("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1), ("c", 2))
    ]
    assert [r["amount"] for r in rows] == [20.0] * 5 + [5.0]
    assert [r["trivet__value"] for r in rows] == [0.0, 1.0, 0.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("missing", Status.NOT_FOUND),
        ("expired", Status.OUTSIDE_MAX_AGE),
        ("null", Status.NULL_VALUE),
    ],
)
def test_an_absent_value_is_null_with_feasts_status(why: Any, status: Status) -> None:
    """And the default that stood in is named apart: the store did not give it."""
    absent = AbsentValue(row=1, column=SEGMENT, why=why, age_seconds=None)
    rows = rows_of(entry("a", ask(), ask(), store_absent=(absent,), absent=(absent,)))
    assert [r["users__segment"] for r in rows] == ["gold", None]
    assert [r["users__segment__status"] for r in rows] == [Status.PRESENT, status]
    assert [r["trivet__absent"] for r in rows] == [
        None,
        json.dumps({"segment": why}, separators=(",", ":")),
    ]
    assert [r["trivet__defaults"] for r in rows] == [None, '{"segment":"none"}']


def test_an_override_stands_beside_what_the_store_gave() -> None:
    """Also where the store gave nothing: then it was not absent for the model."""
    absent = AbsentValue(row=0, column=AGE, why="missing", age_seconds=None)
    (row,) = rows_of(entry("a", ask(age=7, income=3), store_absent=(absent,)))
    assert json.loads(row["trivet__overrides"]) == {"age": 7.0, "income": 3}
    assert (row["users__income"], row["users__income__status"]) == (1000, Status.PRESENT)
    assert (row["users__age"], row["users__age__status"]) == (None, Status.NOT_FOUND)
    assert row["trivet__absent"] is None


def test_a_join_key_that_is_a_column_too_stands_once() -> None:
    """It is one field of the request."""
    key = Column(name="user_id", source="request", dtype="string")
    contract = shop(columns=(INCOME, AMOUNT, key))
    assert log_schema(contract).names.count("user_id") == 1


def test_a_classification_has_its_class_and_confidence_as_columns() -> None:
    """A postprocess that names other things so keeps its output as JSON alone."""
    contract = shop(output=Classification(classes=("a", "b")))
    good = {"class_id": 1, "class_name": "b", "confidence": 0.75}
    odd = {"class_id": "b", "confidence": "sure"}
    changed = {"contract": contract, "digest": contract.digest}
    (row,) = rows_of(entry("x", **changed, predictions=[good]))
    assert (row["trivet__class_id"], row["trivet__confidence"]) == (1, 0.75)
    (row,) = rows_of(entry("x", **changed, predictions=[odd]))
    assert (row["trivet__class_id"], row["trivet__confidence"]) == (None, None)
    assert json.loads(row["trivet__output"]) == odd


def test_a_segment_says_which_column_is_which() -> None:
    """By the contract's names."""
    names = logged_columns(log_schema(shop()))
    assert names["income"] == "users__income"
    assert names["amount"] == "amount"


def test_what_an_on_demand_view_computes_is_logged_as_a_feature() -> None:
    """With its inputs, and as Feast names it; a null that a default replaced is a null."""
    double = Column(name="double", source="on_demand:double", dtype="int64", absent="null")
    since = Column(name="since", source="on_demand:since", dtype="timestamp", absent="null")
    word = Column(
        name="word", source="on_demand:word", dtype="string", absent=Default(default="none")
    )
    view = OnDemandView(
        name="derived", inputs=("amount",), outputs=("double", "since", "word"), digest="d"
    )
    contract = shop(columns=(INCOME, double, since, word), inputs=(AMOUNT,), on_demand=(view,))
    absent = AbsentValue(row=1, column=word, why="null", age_seconds=None)
    rows = rows_of(
        entry(
            "a",
            *(ask(), ask()),
            contract=contract,
            digest=contract.digest,
            absent=(absent,),
            columns={
                "double": np.array([40.0, np.nan]),
                "since": np.array(["2026-11-22T12:00:00.5", "NaT"], dtype="datetime64[us]"),
                "word": np.array(["many", "none"], dtype=object),
            },
        )
    )
    assert [r["derived__double"] for r in rows] == [40, None]
    assert [r["derived__since"] for r in rows] == [NOON.replace(tzinfo=None), None]
    assert [r["derived__word"] for r in rows] == ["many", None]
    assert [r["derived__word__status"] for r in rows] == [Status.PRESENT, Status.NULL_VALUE]
    assert [r["trivet__defaults"] for r in rows] == [None, '{"word":"none"}']
    assert [r["amount"] for r in rows] == [20.0, 20.0]
    assert rows[0]["derived__double__timestamp"] is None


# --- a segment ------------------------------------------------------------------------------------


def begun(folder: Path, rows: int = 1) -> tuple[Segment, Rows]:
    """Return a segment with so many rows, and what makes more."""
    made = Rows(shop(), shop().digest)
    segment = Segment.create(folder, made.schema, "d" * 64, NOON)
    segment.append(made.batch([entry(f"r{n}") for n in range(rows)]))
    return segment, made


def test_a_finished_segment_is_one_parquet_file(tmp_path: Path) -> None:
    """And nothing else is left."""
    segment, _ = begun(tmp_path, rows=3)
    segment.finish()
    (path,) = tmp_path.glob("*.parquet")
    assert path == finished_path(segment.path)
    assert pq.read_table(path).num_rows == 3
    assert not list(open_folder(tmp_path).iterdir())


@pytest.mark.parametrize("cut", [1, 9, 200, 5000])
def test_a_torn_tail_is_cut_and_all_before_it_kept(tmp_path: Path, cut: int) -> None:
    """Wherever the last message ends."""
    segment, rows = begun(tmp_path, rows=3)
    whole = segment.path.stat().st_size
    segment.append(rows.batch([entry(f"later{n}") for n in range(50)]))
    segment.leave()
    os.truncate(segment.path, max(segment.path.stat().st_size - cut, whole + 1))
    assert read_open(segment.path).num_rows == 3
    assert recover(tmp_path) == 1
    (path,) = tmp_path.glob("*.parquet")
    assert pq.read_table(path).column("__request_id").to_pylist() == ["r0", "r1", "r2"]


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff\xff\x10"])
def test_a_segment_torn_at_its_beginning_is_removed(tmp_path: Path, content: bytes) -> None:
    """There is nothing in it to keep."""
    open_folder(tmp_path).mkdir()
    (open_folder(tmp_path) / "x.arrow").write_bytes(content)
    assert recover(tmp_path) == 1
    assert [path.name for path in tmp_path.rglob("*")] == [".open"]


def test_a_segment_that_somebody_writes_is_not_taken(tmp_path: Path) -> None:
    """Until its writer lets go."""
    segment, _ = begun(tmp_path)
    assert recover(tmp_path) == 0
    segment.leave()
    assert recover(tmp_path) == 1
    assert recover(tmp_path) == 0


def test_a_recovery_that_was_killed_is_done_again_without_a_row_twice(tmp_path: Path) -> None:
    """The Parquet file has the same name."""
    segment, _ = begun(tmp_path, rows=2)
    segment.leave()
    kept = segment.path.read_bytes()
    recover(tmp_path)
    segment.path.write_bytes(kept)  # as if it had ended before it could remove the segment
    assert read_rows(tmp_path, "shop-none") == []
    assert recover(tmp_path) == 1
    assert sum(pq.read_table(path).num_rows for path in tmp_path.glob("*.parquet")) == 2


def test_segments_past_their_retention_are_removed(tmp_path: Path) -> None:
    """By when they were finished: all their rows are older."""
    for name, age in (("old", 3), ("new", 1)):
        path = tmp_path / f"{name}.parquet"
        path.touch()
        at = (NOON - timedelta(days=age)).timestamp()
        os.utime(path, (at, at))
    assert remove_expired(tmp_path, NOON - timedelta(days=2)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new.parquet"]


# --- on the way to the writer -----------------------------------------------------------------------


def test_a_contract_goes_over_once() -> None:
    """It is by far the largest part of the first entry."""
    packer = Packer()
    first, second = (len(packer.pack([entry(name)])) for name in ("a", "b"))
    assert second < first / 3


def test_what_cannot_be_read_is_lost_alone_and_says_how_many_rows_it_had() -> None:
    """A model's postprocess may give what only its worker knows."""
    packer = Packer()
    bad = bytearray(frame(["something"], rows=3))
    bad[-1:] = b"?"
    stream = io.BytesIO(packer.pack([entry("a")]) + bytes(bad) + packer.pack([entry("b")]))
    found = list(messages(stream))
    assert [one.rows for one in found if isinstance(one, Refused)] == [3]
    unpacker = Unpacker()
    kept = [e for one in found if not isinstance(one, Refused) for e in unpacker.unpack(one)]
    assert [one.requests[0].request_id for one in kept] == ["a", "b"]


def test_a_contract_goes_over_although_its_first_entry_could_not_be_packed() -> None:
    """It counts as sent once it is on its way, and not before."""
    packer, unpacker = Packer(), Unpacker()
    odd = entry("odd", predictions=[{"value": lambda: None}])
    with pytest.raises(Exception, match="lambda"):
        packer.pack([odd])
    stream = io.BytesIO(packer.pack([entry("a")]))
    found = [one for message in messages(stream) for one in unpacker.unpack(message)]
    assert [one.requests[0].request_id for one in found] == ["a"]


def test_entries_whose_contract_never_came_are_refused_with_their_rows() -> None:
    """The next contract's are taken: the stream goes on."""
    packer, late = Packer(), Packer()
    late.pack([entry("lost")])
    other = entry("b", contract=shop(model="other"), digest="other")
    stream = io.BytesIO(late.pack([entry("a", ask(), ask())]) + packer.pack([other]))
    refused, contract, entries = messages(stream, Unpacker().unpack)
    assert (refused.rows, type(refused.why)) == (2, KeyError)
    assert contract == []
    assert [one.requests[0].request_id for one in entries] == ["b"]


@pytest.mark.parametrize("bytes_left", [1, 7, 20])
def test_a_stream_that_ends_within_a_message_ends_with_the_one_before(bytes_left: int) -> None:
    """As when a worker is killed while it sends."""
    packer, unpacker = Packer(), Unpacker()
    whole = packer.pack([entry("a")])
    stream = io.BytesIO(whole + packer.pack([entry("b")])[:bytes_left])
    found = [one for message in messages(stream) for one in unpacker.unpack(message)]
    assert [one.requests[0].request_id for one in found] == ["a"]


# --- the writer -----------------------------------------------------------------------------------


def written(folder: Path, *entries: Entry, **changes: Any) -> Counts:
    """Log entries from start to end, and return what was counted."""
    counts = Counts()
    log = PredictionLog(settings(folder, **changes), "shop", counts)
    for one in received(*entries):
        log.record(one)
    log.start()
    log.close()
    return counts


def read_rows(folder: Path, model: str = "shop", **wanted: Any) -> list[dict[str, Any]]:
    """Return logged rows."""
    found: list[dict[str, Any]] = read_log(settings(folder), model, **wanted).to_pylist()
    return found


def test_what_is_recorded_is_there_after_the_end(tmp_path: Path) -> None:
    """Once each, in Parquet."""
    counts = written(tmp_path, *(entry(f"r{n}", ask(), ask()) for n in range(700)))
    assert (counts.written, counts.lost) == (1400, {})
    rows = read_rows(tmp_path)
    assert len({(r["__request_id"], r["trivet__row"]) for r in rows}) == len(rows) == 1400
    assert not list(open_folder(log_folder(settings(tmp_path).home, "shop")).iterdir())


def test_rows_over_the_queues_limit_are_dropped_and_counted(tmp_path: Path) -> None:
    """Whole requests, whose rows would not all fit."""
    pair = (ask(), ask())
    counts = written(tmp_path, *(entry(f"r{n}", *pair) for n in range(4)), log_queue_rows=5)
    assert (counts.written, counts.lost) == (4, {"queue": 4})


def test_a_request_without_columns_does_not_take_others_with_it(tmp_path: Path) -> None:
    """It is counted, and the rest is logged."""
    bad = entry("bad", predictions=[{"value": object()}])
    counts = written(tmp_path, entry("a"), bad, entry("b"))
    assert (counts.written, counts.lost) == (2, {"unfit": 1})
    assert [r["__request_id"] for r in read_rows(tmp_path)] == ["a", "b"]


def test_a_request_is_sampled_as_a_whole_by_its_id(tmp_path: Path) -> None:
    """The same requests in every worker, about as many as the share says."""
    names = [f"{n:032x}" for n in range(0, 2**40, 2**31)]
    written(tmp_path, *(entry(name, ask(), ask()) for name in names), log_sample=0.25)
    expected = sorted(name for name in names if zlib.crc32(name.encode()) < 0.25 * 2**32)
    found = [r["__request_id"] for r in read_rows(tmp_path)]
    assert sorted(found) == sorted(2 * expected)
    assert 0.15 < len(expected) / len(names) < 0.35


def test_a_request_that_nobody_waited_for_is_not_logged(tmp_path: Path) -> None:
    """It was not answered, whatever was computed for it beside the others."""
    counts = written(tmp_path, entry("a"), entry("gone", kept=False), entry("b"))
    assert counts.written == 2
    assert [r["__request_id"] for r in read_rows(tmp_path)] == ["a", "b"]


def test_a_segment_is_finished_when_it_is_full(tmp_path: Path) -> None:
    """And another one begins."""
    counts = Counts()
    log = PredictionLog(
        settings(tmp_path, log_segment_rows=10, log_flush_seconds=0.01), "shop", counts
    )
    log.start()
    folder = log_folder(tmp_path / ".trivet", "shop")
    for number in range(2):
        for row in range(10):
            log.record(entry(f"r{number}-{row}"))
        wait_for(lambda n=number: len(list(folder.glob("*.parquet"))) == n + 1)
    log.record(entry("last"))
    log.close()
    assert sorted(pq.read_table(p).num_rows for p in folder.glob("*.parquet")) == [1, 10, 10]


def test_a_segment_is_finished_when_it_is_old(tmp_path: Path) -> None:
    """Without another row."""
    log = PredictionLog(
        settings(tmp_path, log_segment_minutes=1e-6, log_flush_seconds=0.01), "shop", Counts()
    )
    log.start()
    log.record(entry())
    folder = log_folder(tmp_path / ".trivet", "shop")
    wait_for(lambda: bool(list(folder.glob("*.parquet"))))
    log.close()


def test_each_contract_has_segments_of_its_own(tmp_path: Path) -> None:
    """Their columns differ."""
    other = shop(views=(), columns=(AMOUNT,), feature_service=None, project=None)
    changed = {"contract": other, "digest": other.digest}
    written(tmp_path, entry("a"), entry("b", **changed), entry("c"))
    folder = log_folder(tmp_path / ".trivet", "shop")
    assert sorted(pq.read_table(p).num_rows for p in folder.glob("*.parquet")) == [1, 2]
    rows = read_rows(tmp_path)
    assert {r["__request_id"]: r["users__income"] for r in rows} == {
        "a": 1000,
        "b": None,
        "c": 1000,
    }


# --- the data plane -------------------------------------------------------------------------------


class Taken:
    """A log that keeps what it is given."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.entries: list[Entry] = []

    def record(self, one: Entry) -> None:
        """Keep it."""
        self.entries.append(one)


def test_the_data_plane_records_what_it_answered(tmp_path: Path) -> None:
    """And nothing of what it refused."""
    log = Taken()
    reader = FakeReader(users={"u001": {"income": 1}})
    slot = filled_slot(tmp_path, version(3, reader=reader))
    plane = DataPlane(slot, settings(tmp_path), lambda: NOON, FakeRecorder(), log)
    answer = asyncio.run(
        plane.predict([ask(), ask(age=1)], lambda s: s.alias("v3"), "r1", "alias/v3")
    )
    with pytest.raises(Exception, match="income is missing"):
        asyncio.run(plane.predict([ask(user_id="u2")], lambda s: s.champion(), "r2"))
    (one,) = log.entries
    (request,) = one.requests
    assert (request.request_id, one.version, request.route) == ("r1", 3, "alias/v3")
    assert one.predictions == answer.document["predictions"]
    first, second = rows_of(one)
    assert json.loads(first["trivet__absent"]) == {"age": "null", "segment": "null"}
    assert json.loads(second["trivet__absent"]) == {"segment": "null"}
    assert first["users__segment"] is None
    assert json.loads(first["trivet__defaults"]) == {"segment": "none"}


# --- reading --------------------------------------------------------------------------------------


@pytest.fixture
def logged(tmp_path: Path) -> Settings:
    """Return a project with a log of five requests, an hour between each and the next."""
    absent = AbsentValue(row=0, column=AGE, why="expired", age_seconds=9.0)
    entries = [entry(f"r{n}", asked_at=NOON + timedelta(hours=n), version=n) for n in range(4)]
    last = entry(
        "r4",
        ask(user_id="u002"),
        asked_at=NOON + timedelta(hours=4),
        store_absent=(absent,),
        absent=(absent,),
        route="alias/new",
    )
    written(tmp_path, *entries, last)
    return settings(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["r0", "r1", "r2", "r3", "r4"]),
        ({"since": NOON + timedelta(hours=3)}, ["r3", "r4"]),
        ({"until": NOON + timedelta(hours=1)}, ["r0"]),
        ({"version": 2}, ["r2"]),
        ({"request_id": "r3"}, ["r3"]),
        ({"keys": {"user_id": "u002"}}, ["r4"]),
        ({"keys": {"amount": "20", "quantity": 1}}, ["r0", "r1", "r2", "r3", "r4"]),
        ({"keys": {"amount": "much"}}, []),
        ({"keys": {"nothing": "x"}}, []),
        ({"absent": "age"}, ["r4"]),
        ({"absent": "income"}, []),
        ({"absent": "when"}, []),
        ({"absent": "nothing"}, []),
        ({"limit": 2}, ["r3", "r4"]),
        ({"limit": 1, "until": NOON + timedelta(hours=2)}, ["r1"]),
    ],
)
def test_rows_are_found_by_what_is_known_of_them(
    logged: Settings, wanted: dict[str, Any], expected: list[str]
) -> None:
    """Oldest first; a limit keeps the newest."""
    found = read_log(logged, "shop", **wanted)
    assert [row["__request_id"] for row in found.to_pylist()] == expected


def test_a_model_without_a_log_has_no_rows(tmp_path: Path) -> None:
    """That is no error: it may not have been asked yet."""
    assert read_log(settings(tmp_path), "shop").num_rows == 0


def test_open_and_finished_segments_are_read_as_one(logged: Settings) -> None:
    """Times are to the second in one and to the millisecond in the other; a row is there once."""
    folder = log_folder(logged.home, "shop")
    segment, _ = begun(folder, rows=2)
    assert read_log(logged, "shop").num_rows == 7
    kept = segment.path.read_bytes()
    segment.finish()
    segment.path.write_bytes(kept)  # renamed, and not yet removed
    assert read_log(logged, "shop").num_rows == 7
    kind = read_log(logged, "shop").schema.field("users__income__timestamp").type
    assert pa.types.is_timestamp(kind)


def test_a_limit_does_not_stop_before_a_newer_row(logged: Settings) -> None:
    """Segments of two workers overlap."""
    folder = log_folder(logged.home, "shop")
    segment, _ = begun(folder, rows=3)  # all at noon, finished last
    segment.finish()
    found = read_log(logged, "shop", limit=3).column("__request_id").to_pylist()
    assert found == ["r2", "r3", "r4"]


def test_a_column_of_another_type_in_another_version_is_read_as_text(logged: Settings) -> None:
    """Rather than not at all."""
    columns = (Column(name="amount", source="request", dtype="string"),)
    other = shop(views=(), columns=columns, feature_service=None, project=None)
    one = entry("text", contract=other, digest=other.digest)
    one.asked.sent[:] = [("many",)]
    rows = Rows(other, other.digest)
    segment = Segment.create(log_folder(logged.home, "shop"), rows.schema, other.digest, NOON)
    segment.append(rows.batch([one]))
    segment.finish()
    found = {r["__request_id"]: r["amount"] for r in read_log(logged, "shop").to_pylist()}
    assert (found["text"], found["r0"]) == ("many", "20")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def project(logged: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to the project with the log."""
    (logged.root / "pyproject.toml").write_text("[tool.trivet]\n")
    monkeypatch.chdir(logged.root)
    return logged.root


def run(*arguments: str, code: int = 0) -> str:
    """Run `trivet log shop`, and return what it printed on standard output."""
    done = CliRunner().invoke(cli.trivet, ["log", "shop", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_command_prints_rows_as_json(project: Path) -> None:
    """With the documents in them opened."""
    (row,) = json.loads(run("--json", "--absent", "age"))
    assert row["trivet__absent"] == {"age": "expired"}
    assert row["trivet__output"] == {"value": 0.0}
    assert row["__log_timestamp"] == "2026-11-22T16:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--limit", "2"], 2),
        (["--since", "2026-11-22T14:30:00+00:00"], 2),
        (["--until", "2026-11-22T12:30:00Z"], 1),
        (["--since", "30000d"], 5),
        (["--since", "0s", "--until", "0s"], 0),
        (["--key", "user_id=u001", "--version", "1"], 1),
        (["--request-id", "r2"], 1),
    ],
)
def test_the_command_filters(project: Path, arguments: list[str], count: int) -> None:
    """As `read_log` does."""
    assert len(json.loads(run("--json", *arguments))) == count


def test_the_command_shows_a_table(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a prediction; an alias is named beside the version."""
    monkeypatch.setattr("trivet.cli.output.out._width", 120)
    shown = run()
    assert "r4 0" in shown
    assert "alias/new" in shown
    assert "1 expired" in shown
    assert run("--request-id", "nobody") == ""


@pytest.mark.parametrize(
    "arguments",
    [["--since", "yesterday"], ["--since", "999999d"], ["--key", "origin"], ["--limit", "0"]],
)
def test_the_command_refuses_what_it_does_not_understand(
    project: Path, arguments: list[str]
) -> None:
    """With the exit code of wrong usage."""
    run(*arguments, code=2)
