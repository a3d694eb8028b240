"""Limits, partitions, names of what is absent, and what tells one job from another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from trivet.batch.job import EntityFile, Job, Options, Wanted
from trivet.batch.limits import MostRejects, memory_for_joins
from trivet.batch.on_ray import _most_tasks
from trivet.batch.parts import partitions
from trivet.batch.predictions import prediction_schema, to_arrow
from trivet.batch.settling import names_of_absent
from trivet.contract import Classification
from trivet.errors import BadSetting
from trivet.runtime.pipeline import Pipeline
from unit.fakes import NOON, AmountPredictor, shop


def wanted(rows: int = 100, **options) -> Wanted:
    """Return what a job is asked for."""
    return Wanted(
        model="shop",
        version=3,
        contract_digest="c" * 64,
        entities=EntityFile(sha256="a" * 64, rows=rows),
        options=Options(**options),
    )


@pytest.mark.parametrize(("text", "of"), [("7", 7), ("0", 0), ("1%", 10), ("0.15%", 1), ("0%", 0)])
def test_a_limit_is_a_number_or_a_share(text, of):
    """Of a thousand rows."""
    assert MostRejects.parse(text).of(1_000) == of


@pytest.mark.parametrize("text", ["many", "-1", "-1%", "101%", "1.5", "nan%", ""])
def test_what_is_no_limit_is_refused(text):
    """With both forms that there are."""
    with pytest.raises(BadSetting, match="neither a number of rows, like 100, nor a share"):
        MostRejects.parse(text)


def test_processes_of_a_machine_share_the_memory_for_joins():
    """On Ray as many as its largest machine has processors; none gets so little that it fails."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
        {"Alive": True, "Resources": {"memory": 1.0}},
    ]
    assert _most_tasks(nodes) == 3
    assert _most_tasks([]) == 1
    assert [memory_for_joins(n) for n in (1, 3, 64)] == ["1536MiB", "512MiB", "256MiB"]


@pytest.mark.parametrize("rows", [0, 1, 99, 100, 101, 250])
def test_chunks_hold_every_row_once(rows):
    """And no chunk more than it may."""
    job = Job(id="j", started=NOON, wanted=wanted(rows, rows_per_chunk=100))
    bounds = [job.bounds(chunk) for chunk in range(job.chunks)]
    assert [row for first, end in bounds for row in range(first, end)] == list(range(rows))
    assert all(end - first <= 100 for first, end in bounds)


def test_a_difference_is_named_with_both_values():
    """Digests by their beginning."""
    other = wanted(101, keep=("a", "b")).model_copy(update={"contract_digest": "d" * 64})
    assert wanted().differences(wanted()) == []
    assert wanted().differences(other) == [
        f"contract digest {'d' * 12}, not {'c' * 12}",
        "entity file rows 101, not 100",
        "keep a, b, not None",
    ]


def test_partitions_are_named_as_hive_does():
    """Values that a path could not hold are quoted; a null has its own name."""
    table = pa.table({"day": ["a/b", None, "a/b"], "n": [1, 1, 2], "x": [0, 1, 2]})
    found = {path: part["x"].to_pylist() for path, part in partitions(table, ("day", "n"))}
    assert found == {
        "day=a%2Fb/n=1/": [0],
        "day=a%2Fb/n=2/": [2],
        "day=__HIVE_DEFAULT_PARTITION__/n=1/": [1],
    }
    assert list(partitions(table.slice(0, 0), ("day",))) == []


def test_a_column_of_too_many_values_makes_no_partitions():
    """Each would be a file."""
    table = pa.table({"n": range(2_000), "x": range(2_000)})
    with pytest.raises(BadSetting, match="2,000 values in one chunk"):
        list(partitions(table, ("n",)))


def test_absent_columns_are_named_row_by_row():
    """In the order of the columns; a row that lacks nothing has an empty list."""
    masks = {"b": np.array([True, False, True]), "a": np.array([False, False, True])}
    assert names_of_absent(masks, 3).to_pylist() == [["b"], [], ["b", "a"]]
    assert names_of_absent({}, 2).to_pylist() == [[], []]


def test_answers_become_one_column_a_field_and_part():
    """Of the types that the version's output has, whether or not there is a row."""
    classes = Classification(classes=("no", "yes"))
    contract = shop(output=classes)
    schema = prediction_schema(contract, Pipeline(AmountPredictor(), classes))
    kinds = [pa.int64(), pa.string(), pa.float64(), pa.float64(), pa.float64()]
    names = ["class_id", "class_name", "confidence", "probabilities.no", "probabilities.yes"]
    assert schema == pa.schema(list(zip(names, kinds, strict=True)))


def test_nan_becomes_null_and_other_things_text():
    """As JSON has them; other fields than before are said to be."""
    schema = pa.schema([("x", pa.float64()), ("y", pa.string())])
    named = {"x": np.array([1.5, np.nan]), "y": np.array([["a", 1], None], dtype=object)}
    columns = to_arrow(named, schema)
    assert columns[0].to_pylist() == [1.5, None]
    assert columns[1].to_pylist() == ['["a",1]', None]
    with pytest.raises(ValueError, match=r"the fields are \['y'\], and were \['x', 'y'\]"):
        to_arrow({"y": named["y"]}, schema)
