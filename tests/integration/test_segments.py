"""Processes that append to a source and fold it are killed at any moment: each row is there once."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivet.features import folding
from trivet.features.segments import append, folder_of, read_source

SCHEMA = pa.schema({"writer": pa.string(), "number": pa.int64()})
FIRST = 5000
KILLS = 12


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Return a way to start processes that have imported Arrow already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trivet.features.folding"])
    return context


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file with some rows."""
    path = tmp_path / "rows.parquet"
    pq.write_table(rows("file", 0, FIRST), path)
    return path


def rows(writer: str, first: int, count: int) -> pa.Table:
    """Return rows of a writer, numbered."""
    numbers = list(range(first, first + count))
    return pa.table({"writer": [writer] * count, "number": numbers}, SCHEMA)


def write_for_ever(source: str, writer: str, said: str) -> None:
    """Append three rows at a time, and write down in a file of its own what is done."""
    with Path(said).open("ab", buffering=0) as out:
        for number in range(0, 1_000_000, 3):
            out.write(b"begun %d\n" % number)
            append(Path(source), rows(writer, number, 3))
            out.write(b"done %d\n" % number)


def fold_for_ever(source: str) -> None:
    """Merge and fold without a pause."""
    folding.MERGE_AT = 4
    while True:
        folding.tidy(Path(source))
        if random.random() < 0.3:  # noqa: S311 - no secret
            folding.fold(Path(source))


def seen(source: Path) -> list[tuple[str, int]]:
    """Return every row that a reader sees."""

    def read(files: list[str]) -> list[tuple[str, int]]:
        tables = [pq.ParquetFile(file).read() for file in files]
        return [(row["writer"], row["number"]) for t in tables for row in t.to_pylist()]

    return read_source(source, read)


def kill(process: BaseProcess) -> None:
    """End a process as the system would."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    process.close()


def test_killed_at_any_moment_no_row_is_lost_and_none_is_there_twice(
    source: Path, tmp_path: Path, processes: ForkServerContext
) -> None:
    """Two who append and one who folds, each killed over and over; a reader looks all the while."""
    chance = random.Random(7)  # noqa: S311 - no secret
    said: list[tuple[str, Path]] = []

    def start(role: int, number: int) -> BaseProcess:
        if role == 2:
            process = processes.Process(target=fold_for_ever, args=(str(source),))
        else:
            writer, out = f"{role}-{number}", tmp_path / f"{role}-{number}.said"
            said.append((writer, out))
            process = processes.Process(target=write_for_ever, args=(str(source), writer, str(out)))
        process.start()
        return process

    append(source, rows("first", 0, 1))
    running = [start(role, 0) for role in range(3)]
    for number in range(1, KILLS + 1):
        role = number % 3
        if role < 2:
            wait_until_done(next(out for name, out in reversed(said) if name[0] == str(role)))
        time.sleep(chance.uniform(0.05, 0.3))
        found = seen(source)
        assert len(found) == len(set(found))
        kill(running[role])
        running[role] = start(role, number)
    for process in running:
        kill(process)
    check_every_row(source, said)
    folding.fold(source)
    check_every_row(source, said)
    assert list(folder_of(source).glob("*.parquet")) == []
    assert pq.read_metadata(source).num_rows == len(seen(source))


def wait_until_done(out: Path) -> None:
    """Wait until a writer has appended something."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if out.exists() and b"done" in out.read_bytes():
            return
        time.sleep(0.02)
    pytest.fail("it appends nothing")


def check_every_row(source: Path, said: list[tuple[str, Path]]) -> None:
    """What was done is there, what was never begun is not, and what was cut off is whole or not."""
    found = seen(source)
    assert len(found) == len(set(found))
    there = set(found)
    assert {("file", number) for number in range(FIRST)} <= there
    done = 0
    for writer, out in said:
        words = [line.split() for line in out.read_text().splitlines()] if out.exists() else []
        begun = {int(number) for word, number in words if word == "begun"}
        ended = {int(number) for word, number in words if word == "done"}
        done += len(ended)
        mine = {number for name, number in there if name == writer}
        assert {number + n for number in ended for n in range(3)} <= mine
        assert mine <= {number + n for number in begun for n in range(3)}
        assert len(mine) % 3 == 0
    assert done > KILLS
