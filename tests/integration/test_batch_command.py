"""`trivet batch`: from a registered version to Parquet and a run in MLflow, killed on the way."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from integration.batching import put_on_shelf, read
from integration.registry.toy import FRAME, MODEL, contract, register
from trivet import cli
from trivet.contract import Regression
from trivet.errors import JobDiffers
from trivet.registry.client import connect
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRIVET = Path(sys.executable).parent / "trivet"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return a project with a file of rows, and go there."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    rows = np.random.default_rng(3)
    table = {"age": rows.uniform(0, 50, 4_000), "purchases": rows.integers(0, 7, 4_000)}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    return Settings(root=tmp_path, home=tmp_path / ".trivet")


@pytest.fixture
def client(project: Settings, empty_registry: Path) -> MlflowClient:
    """Return a client of the project's registry, in which there is nothing yet."""
    shutil.copyfile(empty_registry, project.root / "mlflow.db")
    return connect(project)


def run(*arguments: object) -> tuple[int, dict[str, object], str]:
    """Run the command in this process: its exit code, its JSON, and what it said."""
    done = CliRunner().invoke(cli.trivet, ["batch", MODEL, *map(str, arguments), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout), done.stderr


def test_a_registered_version_predicts_a_file_and_the_run_is_in_mlflow(
    project: Settings, client: MlflowClient
) -> None:
    """By its number or its alias, through MLflow's own flavor; one run a job, however often asked."""
    assert register(client, project, 2) == 1
    client.set_registered_model_alias(MODEL, "champion", "1")
    frame = FRAME.assign(late=(FRAME.age > 20).astype(int) + (FRAME.age > 40).astype(int))
    frame["late"] = frame["late"].map({0: "low", 1: "medium", 2: "high"})
    frame.to_parquet("frame.parquet")
    options = ("--entities", "frame.parquet", "--out", "out", "--now", "--label", "late")
    code, first, _ = run(*options)
    assert (code, first["version"], first["predicted"]) == (0, 1, 50)
    table = read(Path("out"))
    model = client.get_run(str(first["run_id"]))
    assert model.data.metrics["accuracy"] == np.mean(
        [a == b for a, b in zip(table["class_name"].to_pylist(), frame["late"], strict=True)]
    )
    assert model.data.metrics["rows"] == 50
    assert model.data.params["options.label"] == "late"
    assert model.info.status == "FINISHED"
    assert run(*options, "--version", 1)[1]["run_id"] == first["run_id"]
    experiment = client.get_experiment_by_name(f"trivet/batch/{MODEL}")
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_a_stopped_job_is_a_failed_run_until_it_has_gone_on(
    project: Settings, client: MlflowClient
) -> None:
    """Exit code 1 and the reason; then the same run is finished, with the counts of the whole."""
    register(client, project, 2)
    FRAME.assign(age=FRAME.age.where(FRAME.age % 10 != 3)).to_parquet("frame.parquet")
    command = [TRIVET, "batch", MODEL, "--version", "1", "--entities", "frame.parquet", "--now"]
    command += ["--out", "out", "--rows-per-chunk", "20"]
    stopped = subprocess.run(command, check=False, capture_output=True, text=True)
    assert stopped.returncode == 1
    assert "2 of the first 20 rows were rejected, and at most 0 may be." in stopped.stderr
    experiment = client.get_experiment_by_name(f"trivet/batch/{MODEL}").experiment_id
    (first,) = client.search_runs([experiment])
    assert (first.info.status, first.data.metrics["rejected"]) == ("FAILED", 2)
    options = ("--version", 1, "--entities", "frame.parquet", "--now", "--out", "out")
    code, found, _ = run(*options, "--rows-per-chunk", 20, "--most-rejects", "10%")
    assert (code, found["run_id"], found["resumed_rows"]) == (0, first.info.run_id, 20)
    (again,) = client.search_runs([experiment])
    assert (again.info.status, again.data.metrics["rejected"]) == ("FINISHED", 5)


def test_without_mlflow_the_output_is_whole_and_the_missing_run_is_said(project: Settings) -> None:
    """Exit code 0: what was asked for is there. The same command writes the run when MLflow is back."""
    put_on_shelf(project.home, contract(Regression(unit="years")))
    options = ("--entities", "rows.parquet", "--out", "out", "--now")
    code, found, said = run(*options)
    assert (code, found["predicted"], found["run_id"]) == (0, 4_000, None)
    assert "MLflow does not answer: version 1 is as a service on this host has it." in said
    assert "MLflow has no run of this job" in said
    assert len(read(Path("out"))) == 4_000
    assert (Path("out") / "_SUCCESS.json").exists()


def test_a_half_done_job_goes_on_with_its_version_whatever_is_champion_now(
    project: Settings, client: MlflowClient
) -> None:
    """Also while MLflow is down; whoever names the champion, or asks for a whole job, is refused."""
    register(client, project, 2)
    register(client, project, 3)
    client.set_registered_model_alias(MODEL, "champion", "1")
    options = ("--entities", "rows.parquet", "--out", "out", "--now", "--rows-per-chunk", 1_000)
    run(*options)
    whole = read(Path("out"))
    client.set_registered_model_alias(MODEL, "champion", "2")
    with pytest.raises(JobDiffers, match="version 1, not 2"):
        run(*options)
    _half(Path("out"))
    with pytest.raises(JobDiffers, match="version 1, not 2"):
        run(*options, "--alias", "champion")
    code, found, said = run(*options)
    assert (code, found["version"], found["resumed_rows"]) == (0, 1, 3_000)
    assert "The job was begun with version 1, and goes on with it." in said
    assert read(Path("out")).equals(whole)
    _half(Path("out"))
    Path("mlflow.db").rename("away.db")
    code, found, said = run(*options)
    assert (code, found["version"], found["resumed_rows"]) == (0, 1, 3_000)
    assert "MLflow does not answer: version 1 is as the job was begun with it." in said
    assert read(Path("out")).equals(whole)


def _half(out: Path) -> None:
    """Leave of a job what one has that was killed in its last chunk."""
    (out / "_SUCCESS.json").unlink()
    (out / "_trivet" / "chunks" / "00003.json").unlink()


def test_a_job_that_is_killed_comes_to_the_same_output(project: Settings) -> None:
    """Three times by -9, at random moments while it writes; no row twice, none lost."""
    put_on_shelf(project.home, contract(Regression(unit="years")))
    run("--entities", "rows.parquet", "--out", "once", "--now", "--rows-per-chunk", 50)
    kill_until_done(Path("out"), kills=3)
    assert read(Path("out")).equals(read(Path("once")))


def kill_until_done(out: Path, kills: int) -> None:
    """Start a job again and again, each time killed while it writes, and at last let it end."""
    chance = random.Random(kills)  # noqa: S311 - not for secrets
    command = [TRIVET, "batch", MODEL, "--entities", "rows.parquet", "--out", out, "--now"]
    command += ["--rows-per-chunk", "50"]
    chunks = out / "_trivet" / "chunks"
    for _ in range(kills):
        before = len(list(chunks.glob("*.json")))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(chunks.glob("*.json"))) <= before:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "_SUCCESS.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    names = [file.name for file in (out / "predictions").iterdir()]
    assert sorted(names) == [f"part-{chunk:05}.parquet" for chunk in range(80)]


def test_options_that_exclude_each_other_are_refused(project: Settings) -> None:
    """As wrong usage, with both names."""
    rest = ["batch", MODEL, "--entities", "rows.parquet", "--out", "out"]
    for wrong, sentence in (
        (["--now", "--timestamp", "t"], "exclude each other"),
        (["--online", "--timestamp", "t"], "no other moment"),
        (["--engine", "ray", "--workers", "2"], "Ray has its own"),
        (["--address", "ray://x"], "for --engine ray"),
    ):
        done = CliRunner().invoke(cli.trivet, [*rest, *wrong])
        assert done.exit_code == 2
        assert sentence in " ".join(done.stderr.split())


def test_without_ray_the_command_says_what_to_install(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of it needs Ray."""
    monkeypatch.setitem(sys.modules, "ray", None)
    rest = ["batch", MODEL, "--entities", "rows.parquet", "--out", "out", "--engine", "ray"]
    done = CliRunner().invoke(cli.trivet, rest)
    assert "trivet[ray]" in str(done.exception)
