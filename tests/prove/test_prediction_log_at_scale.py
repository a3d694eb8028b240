"""A million logged rows are all there, once each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trivet.logged import REQUEST_ID, log_folder

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1800)]

PROGRAM = Path(__file__).parents[1] / "integration" / "logging_process.py"
REQUESTS = 250_000
WRITERS = ("a", "b")
ROWS = 2


def test_a_million_rows_are_all_there_once(tmp_path: Path) -> None:
    """From two workers at once, over many segments; none was dropped."""
    arguments = [str(REQUESTS), f"rows={ROWS}", "wait=1"]
    writers = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(tmp_path), name, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in WRITERS
    ]
    written = f"written {REQUESTS * ROWS}\nlost 0\n"
    assert [writer.communicate()[0] for writer in writers] == [f"started 0\n{written}"] * 2
    segments = sorted(log_folder(tmp_path, "shop").glob("*.parquet"))
    assert len(segments) >= 10
    found: set[tuple[str, int]] = set()
    count = 0
    for path in segments:
        table = pq.read_table(path, columns=[REQUEST_ID, "trivet__row"])
        count += table.num_rows
        found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert count == len(found) == REQUESTS * ROWS * len(WRITERS) == 1_000_000
    assert found == {
        (f"{name}-{number}", row)
        for name in WRITERS
        for number in range(REQUESTS)
        for row in range(ROWS)
    }
