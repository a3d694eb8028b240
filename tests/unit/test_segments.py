"""Rows appended beside a Parquet file are its rows, each once, however they are merged and folded."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.errors import FeaturesUnavailable
from trivet.features import folding
from trivet.features.folding import fold, tidy, tidy_soon
from trivet.features.segments import append, folder_of, read_source, segment_path, tail_of
from waiting import wait_for

SCHEMA = pa.schema({"key": pa.string(), "number": pa.int64()})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file with the rows 0 and 1."""
    path = tmp_path / "rows.parquet"
    pq.write_table(rows(0, 1), path)
    return path


def rows(*numbers: int) -> pa.Table:
    """Return rows of these numbers."""
    return pa.table({"key": ["k"] * len(numbers), "number": list(numbers)}, SCHEMA)


def numbers(source: Path) -> list[int]:
    """Return what a reader sees, in the order in which it is given the files."""
    return read_source(source, read)


def read(files: list[str]) -> list[int]:
    """Read files, one after the other."""
    return [n for file in files for n in pq.ParquetFile(file).read()["number"].to_pylist()]


def segments(source: Path) -> list[str]:
    """Return the names of a source's segments."""
    return sorted(path.name for path in folder_of(source).glob("*.parquet"))


def test_what_was_appended_comes_before_the_file_and_the_last_first(source: Path) -> None:
    """So that the first row of equal key and moment is the last correction."""
    append(source, rows(2, 3))
    append(source, rows(4))
    assert numbers(source) == [4, 3, 2, 0, 1]
    assert pq.read_table(source)["number"].to_pylist() == [0, 1]


def test_a_fold_puts_all_of_it_into_the_file_in_the_same_order(source: Path) -> None:
    """Whoever reads the file alone then sees every row; nothing is left beside it."""
    append(source, rows(2, 3))
    append(source, rows(4))
    assert fold(source)
    assert pq.read_table(source)["number"].to_pylist() == [4, 3, 2, 0, 1]
    assert (numbers(source), segments(source)) == ([4, 3, 2, 0, 1], [])
    assert pq.read_schema(source).equals(SCHEMA)
    assert not fold(source)


def test_after_a_fold_appends_are_counted_on(source: Path) -> None:
    """A number that came twice would be taken for one that is folded already."""
    append(source, rows(2))
    fold(source)
    append(source, rows(3))
    assert numbers(source) == [3, 2, 0, 1]
    fold(source)
    append(source, rows(4))
    assert numbers(source) == [4, 3, 2, 0, 1]


def test_many_small_appends_are_merged_into_one(source: Path) -> None:
    """The file is not touched for it, and what was merged is not merged again."""
    before = source.stat().st_mtime_ns
    for number in range(2, 2 + folding.MERGE_AT):
        append(source, rows(number))
        tidy(source)
    assert segments(source) == [segment_path(source, 1, folding.MERGE_AT).name]
    append(source, rows(99))
    tidy(source)
    assert len(segments(source)) == 2
    assert numbers(source) == [99, *range(1 + folding.MERGE_AT, 1, -1), 0, 1]
    assert source.stat().st_mtime_ns == before


def test_when_enough_was_appended_it_is_folded(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of the file, but not a few bytes of a small one."""
    append(source, rows(2))
    tidy(source)
    assert len(segments(source)) == 1
    monkeypatch.setattr(folding, "FOLD_BYTES", 100)
    tidy(source)
    assert (segments(source), numbers(source)) == ([], [2, 0, 1])


def test_a_segment_that_has_waited_is_folded(source: Path) -> None:
    """Bare Feast lacks its rows until then."""
    append(source, rows(2))
    long_ago = time.time() - folding.FOLD_SECONDS - 1
    os.utime(segment_path(source, 1, 1), (long_ago, long_ago))
    tidy(source)
    assert pq.read_table(source)["number"].to_pylist() == [2, 0, 1]


def test_a_merge_has_waited_as_long_as_its_oldest(source: Path) -> None:
    """Else its rows would wait anew from each merge on."""
    for number in range(folding.MERGE_AT):
        append(source, rows(number))
    since = time.time() - folding.FOLD_SECONDS + 60
    os.utime(segment_path(source, 3, 3), (since, since))
    tidy(source)
    (merged,) = segments(source)
    assert (folder_of(source) / merged).stat().st_mtime == pytest.approx(since, abs=0.001)


def test_what_a_killed_fold_has_left_counts_for_nothing(source: Path) -> None:
    """Killed between the rename and the removals, the rows are in both; half a file is in neither."""
    append(source, rows(2))
    left = segment_path(source, 1, 1)
    kept = left.read_bytes()
    fold(source)
    left.write_bytes(kept)
    half = folder_of(source) / ".half.part"
    half.write_bytes(b"PAR1")
    os.utime(half, (0, 0))
    assert numbers(source) == [2, 0, 1]
    append(source, rows(3))
    assert fold(source)
    assert (numbers(source), segments(source)) == ([3, 2, 0, 1], [])
    assert not half.exists()


def test_what_a_killed_merge_has_left_counts_for_nothing(source: Path) -> None:
    """The single appends and what they were merged into hold the same rows."""
    for number in range(2, 2 + folding.MERGE_AT):
        append(source, rows(number))
    kept = {path: path.read_bytes() for path in folder_of(source).glob("*.parquet")}
    tidy(source)
    for path, content in list(kept.items())[:5]:
        path.write_bytes(content)
    assert sorted(numbers(source)) == [*range(2 + folding.MERGE_AT)]
    tidy(source)
    assert len(segments(source)) == 1


def test_a_file_that_was_written_anew_keeps_the_segments_and_has_its_own_columns(
    source: Path,
) -> None:
    """Null where a segment is older than a column."""
    append(source, rows(2))
    wider = rows(0, 1).append_column("more", pa.array([1.5, 2.5]))
    pq.write_table(wider, source)
    assert fold(source)
    table = pq.read_table(source)
    assert table["number"].to_pylist() == [2, 0, 1]
    assert table["more"].to_pylist() == [None, 1.5, 2.5]


def test_a_fold_gives_way_to_whoever_has_replaced_the_file_meanwhile(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they wrote stays, and the segments stay too."""
    append(source, rows(2))
    write = folding._write

    def overtaken(*arguments: object) -> None:
        write(*arguments)
        pq.write_table(rows(7, 8, 9), source)

    monkeypatch.setattr(folding, "_write", overtaken)
    assert not fold(source)
    assert numbers(source) == [2, 7, 8, 9]


def test_a_reader_whose_files_are_folded_away_reads_again(source: Path) -> None:
    """It is given the files that hold the rows then."""
    append(source, rows(2))
    seen: list[list[str]] = []

    def slow(files: list[str]) -> list[int]:
        seen.append(files)
        if len(seen) == 1:
            fold(source)
        return read(files)

    assert read_source(source, slow) == [2, 0, 1]
    assert [len(files) for files in seen] == [2, 1]


def test_a_reader_that_never_gets_to_the_end_is_told(source: Path) -> None:
    """Instead of rows of which some are there twice."""
    append(source, rows(2))

    def slow(files: list[str]) -> list[int]:
        pq.write_table(rows(0, 1), source)
        return read(files)

    with pytest.raises(FeaturesUnavailable, match="replaced faster than it can be read"):
        read_source(source, slow)


def test_a_reader_s_own_failure_is_its_own(source: Path) -> None:
    """It is not called again for it."""
    append(source, rows(2))
    with pytest.raises(ZeroDivisionError):
        read_source(source, lambda files: 1 // 0)


def test_a_folder_or_pattern_is_read_as_it_stands(source: Path) -> None:
    """Nothing is appended to those."""
    pattern = f"{source.parent}/*.parquet"
    assert read_source(pattern, list) == [pattern]
    assert read_source(source.parent, list) == [str(source.parent)]


def test_an_append_that_fails_leaves_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, mostly."""

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trivet.features.segments.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        append(source, rows(2))
    monkeypatch.undo()
    assert numbers(source) == [0, 1]
    assert [path.name for path in folder_of(source).iterdir()] == []


def test_threads_append_while_others_fold_and_read(source: Path) -> None:
    """Every reader sees what was appended before it began, and nothing twice."""
    done: list[int] = [0, 1]

    def write(start: int) -> None:
        for number in range(start, start + 40):
            append(source, rows(number))
            done.append(number)

    def check(_: int) -> None:
        for _ in range(30):
            before = set(done)
            found = numbers(source)
            assert len(found) == len(set(found))
            assert before <= set(found)

    def fold_often(_: int) -> None:
        for _ in range(20):
            fold(source)
            tidy(source)

    with ThreadPoolExecutor(5) as threads:
        jobs = [threads.submit(write, start) for start in (100, 200)]
        jobs += [threads.submit(check, 0), threads.submit(check, 0), threads.submit(fold_often, 0)]
        for job in jobs:
            job.result()
    assert sorted(numbers(source)) == [0, 1, *range(100, 140), *range(200, 240)]


def test_a_thread_tidies_beside_whoever_appends(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It merges what there is, and folds when nothing more has come for long; then it ends."""
    for number in range(folding.MERGE_AT):
        append(source, rows(number))
    tidy_soon(source)
    wait_for(lambda: len(segments(source)) == 1)
    monkeypatch.setattr(folding, "FOLD_SECONDS", 0.05)
    append(source, rows(99))
    tidy_soon(source)
    wait_for(lambda: segments(source) == [])
    wait_for(lambda: folding._tidiers[source]._thread is None)
    assert pq.read_metadata(source).num_rows == 2 + folding.MERGE_AT + 1


def test_the_thread_folds_what_has_waited_long_while_more_comes(source: Path) -> None:
    """Its pause begins anew with each append, but ends when the oldest segment is due."""
    append(source, rows(2))
    nearly = time.time() - folding.FOLD_SECONDS + 2
    os.utime(segment_path(source, 1, 1), (nearly, nearly))
    tidy_soon(source)
    wait_for(lambda: segments(source) == [])


def test_after_a_failure_the_thread_goes_on(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that nothing is lost."""
    append(source, rows(2))
    with monkeypatch.context() as patch:
        patch.setattr(folding, "tidy", lambda source: 1 // 0)
        tidy_soon(source)
        wait_for(lambda: "none is lost" in caplog.text)
    monkeypatch.setattr(folding, "FOLD_SECONDS", 0.0)
    tidy_soon(source)
    wait_for(lambda: segments(source) == [])


def test_a_source_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    """As a temporary one is, by the time that its thread looks again."""
    tidy(tmp_path / "gone.parquet")


steps = st.lists(st.sampled_from(["append", "append", "tidy", "fold"]), max_size=25)


@settings(max_examples=25, deadline=None)
@given(steps=steps)
def test_any_order_of_appends_merges_and_folds_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """The newest first, and numbers that only grow."""
    source = tmp_path_factory.mktemp("any") / "rows.parquet"
    pq.write_table(rows(0), source)
    expected = [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "MERGE_AT", 3)
        for step in steps:
            if step == "append":
                append(source, rows(len(expected)))
                expected.insert(0, len(expected))
            elif folder_of(source).exists():
                {"tidy": tidy, "fold": fold}[step](source)
            assert numbers(source) == expected
    assert tail_of(source).last == len(expected) - 1
