"""A setting comes from the environment, else from pyproject.toml, else from its default."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trivet.errors import BadSetting, ProjectNotFound
from trivet.settings import Settings, find_root, load_settings, silence_telemetry


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project that sets one setting."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\nmax_rows = 50\n")
    return tmp_path


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_says_what_it_means(name: str) -> None:
    """The reference in the documentation is made of these descriptions."""
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")


def test_a_default_stands_where_nothing_is_set(project: Path) -> None:
    """A project needs no setting at all."""
    assert load_settings(project).poll_seconds == 0.5


def test_the_projects_file_is_above_the_default(project: Path) -> None:
    """It is shared by everybody who works on the project."""
    assert load_settings(project).max_rows == 50


def test_the_environment_is_above_the_projects_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to one deployment."""
    monkeypatch.setenv("TRIVET_MAX_ROWS", "7")
    assert load_settings(project).max_rows == 7


def test_the_project_is_found_from_a_folder_inside_it(project: Path) -> None:
    """Every command works in every folder of the project."""
    inside = project / "bentos" / "shop"
    inside.mkdir(parents=True)
    (inside / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    assert load_settings(inside).root == project.resolve()


def test_the_root_can_be_named_outright(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may be started from a folder outside the project."""
    monkeypatch.setenv("TRIVET_ROOT", str(project))
    assert find_root(Path("/")) == project.resolve()
    assert load_settings(Path("/")).root == project.resolve()


def test_relative_paths_start_at_the_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And absolute ones stay as they are."""
    monkeypatch.setenv("TRIVET_HOME", str(project.parent / "elsewhere"))
    settings = load_settings(project)
    assert settings.feature_repo == project.resolve() / "feature_repo"
    assert settings.home == project.parent / "elsewhere"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIVET_MAX_ROWS", "0"),
        ("TRIVET_MAX_BODY_BYTES", "many"),
        ("TRIVET_POLL_SECONDS", "-1"),
        ("TRIVET_FEATURE_TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_bad_value_names_its_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The reader of the message knows what to change."""
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting, match=name):
        load_settings(project)


def test_an_unknown_name_in_the_projects_file_is_refused(project: Path) -> None:
    """A misspelt setting would otherwise do nothing, silently."""
    (project / "pyproject.toml").write_text("[tool.trivet]\nmax_row = 50\n")
    with pytest.raises(BadSetting, match="max_row in"):
        load_settings(project)


@pytest.mark.parametrize("content", [None, "", "[tool]\ntrivet = 3\n"])
def test_a_folder_outside_any_project_is_named(tmp_path: Path, content: str | None) -> None:
    """A file that is absent, empty or without the table makes no project."""
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(ProjectNotFound, match=str(tmp_path)):
        load_settings(tmp_path)


def test_a_broken_project_file_is_said_to_be_broken(tmp_path: Path) -> None:
    """Not that there is no project."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet\n")
    with pytest.raises(BadSetting, match="is not TOML"):
        load_settings(tmp_path)


def test_mlflows_own_setting_is_above_the_projects_registry(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLflow has a setting for is its own."""
    settings = load_settings(project)
    assert settings.tracking_uri == f"sqlite:///{project.resolve()}/mlflow.db"
    assert settings.artifact_root == (project.resolve() / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert settings.tracking_uri == "http://mlflow:5000"


@pytest.mark.parametrize(
    ("chosen", "root"),
    [
        ("s3://bucket/artifacts/", "s3://bucket/artifacts"),
        ("/srv/artifacts", "file:///srv/artifacts"),
        ("", "{project}/mlruns"),
        ("elsewhere", "{project}/elsewhere"),
    ],
)
def test_artifacts_go_where_mlflows_server_would_put_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, root: str
) -> None:
    """By the setting of `mlflow server`; always an absolute address."""
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", chosen)
    expected = root.format(project=project.resolve().as_uri())
    assert load_settings(project).artifact_root == expected


def test_usage_reporting_is_off_unless_the_user_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable that is set stays."""
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "")
    monkeypatch.delenv("BENTOML_DO_NOT_TRACK")
    silence_telemetry()
    assert os.environ["DO_NOT_TRACK"] == "false"
    assert os.environ["BENTOML_DO_NOT_TRACK"] == "True"


def test_onnx_runtime_reports_nothing_where_trivet_loads_it(tmp_path: Path) -> None:
    """Left to itself it makes an id for the machine and a database of what it is going to send."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    script = "import trivet.runtime.onnx"
    subprocess.run([sys.executable, "-c", script], env=kept | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
