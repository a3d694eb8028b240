"""What a pinned bento is made of: a wheel of the running code, pins, addresses, settings."""

from __future__ import annotations

import csv
import io
import zipfile
from importlib.metadata import version as installed
from pathlib import Path

import pytest
import yaml

from trivet.contract import Runtime
from trivet.errors import BentoNotBuilt, CodeNotCarried, FeaturesUnavailable
from trivet.features.pinned_config import online_store_kind, pinned_config, spelled_out_secrets
from trivet.live import CONTRACT
from trivet.serving.carried import CarriedCode
from trivet.serving.pinned.context import digest_of_folder, write_service
from trivet.serving.pinned.loading import pinned_settings
from trivet.serving.pinned.requirements import pinned_requirements
from trivet.serving.pinned.wheel import pack_wheel
from trivet.settings import Settings
from unit.fakes import shop


def test_the_same_code_makes_the_same_wheel(tmp_path: Path) -> None:
    """Whenever it is packed; and its record names every file."""
    first, second = pack_wheel(tmp_path / "1"), pack_wheel(tmp_path / "2")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith("/RECORD")]
        rows = csv.reader(io.StringIO(archive.read(record).decode()))
        assert [row[0] for row in rows] == archive.namelist()
        assert not [name for name in archive.namelist() if "__pycache__" in name]


def test_what_is_required_is_what_is_installed() -> None:
    """All the way down, but for Trivet, which is a wheel, and BentoML, which adds itself."""
    lines = pinned_requirements()
    named = dict(line.split("==") for line in lines)
    assert named["numpy"] == installed("numpy")
    assert {"feast", "mlflow", "duckdb", "pydantic-core"} <= set(named)
    assert not {"trivet", "bentoml", "pytest", "redis", "lightgbm"} & set(named)
    assert list(named) == sorted(named)
    more = pinned_requirements(["redis"], ["lightgbm"])
    assert {"redis", "lightgbm"} <= {line.partition("==")[0] for line in more}


def test_a_library_that_is_not_installed_is_named() -> None:
    """A model's library, on a machine that has never trained one."""
    with pytest.raises(BentoNotBuilt, match="no-such-library is needed"):
        pinned_requirements((), ["no-such-library"])


def store(folder: Path, text: str) -> Settings:
    """Return the settings of a project with this feature_store.yaml."""
    repo = folder / "feature_repo"
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(text)
    return Settings(root=folder, feature_repo=repo)


@pytest.mark.parametrize(
    ("registry", "online", "expected"),
    [
        ("../data/r.db", {"type": "sqlite", "path": "o.db"}, ("{root}/data/r.db", "o.db")),
        ("$REGISTRY", {"type": "sqlite", "path": "${HERE}/o.db"}, ("$REGISTRY", "${HERE}/o.db")),
        ("s3://b/r.db", {"type": "sqlite", "path": "/x/o.db"}, ("s3://b/r.db", "/x/o.db")),
    ],
)
def test_only_relative_files_are_made_absolute(
    tmp_path: Path, registry: str, online: dict[str, str], expected: tuple[str, str]
) -> None:
    """Variables are expanded where the bento runs; addresses mean the same everywhere."""
    text = yaml.safe_dump({"project": "p", "registry": registry, "online_store": online})
    made = yaml.safe_load(pinned_config(store(tmp_path, text)))
    found = expected[1] if expected[1] != "o.db" else f"{tmp_path}/feature_repo/o.db"
    assert made["registry"] == expected[0].format(root=tmp_path)
    assert made["online_store"]["path"] == found


def test_a_registry_in_a_table_and_a_server_stay_as_they_are(tmp_path: Path) -> None:
    """Only the registry's file is relative to the folder."""
    config = {
        "registry": {"path": "r.db", "cache_ttl_seconds": 5},
        "online_store": {"type": "redis", "connection_string": "cache:6379,password=$PASSWORD"},
    }
    settings = store(tmp_path, yaml.safe_dump(config))
    made = yaml.safe_load(pinned_config(settings))
    assert made["registry"] == {"path": f"{tmp_path}/feature_repo/r.db", "cache_ttl_seconds": 5}
    assert made["online_store"] == config["online_store"]
    assert online_store_kind(settings) == "redis"


def test_what_feast_assumes_is_written_down(tmp_path: Path) -> None:
    """Its defaults start in the folder of its file, which is another one in the bento."""
    made = yaml.safe_load(pinned_config(store(tmp_path, "project: p\n")))
    assert made["registry"] == f"{tmp_path}/feature_repo/data/registry.db"
    assert made["online_store"]["path"] == f"{tmp_path}/feature_repo/data/online.db"


def test_a_project_without_its_file_is_told_so(tmp_path: Path) -> None:
    """Before anything is built."""
    with pytest.raises(FeaturesUnavailable, match=r"feature_store\.yaml cannot be read"):
        pinned_config(Settings(root=tmp_path, feature_repo=tmp_path))


@pytest.mark.parametrize(
    ("online", "found"),
    [
        ({"type": "postgres", "password": "hunter2"}, ("online_store.password",)),
        ({"type": "postgres", "password": "$PASSWORD"}, ()),
        ({"connection_string": "cache:6379,password=x"}, ("online_store.connection_string",)),
        ({"connection_string": "cache:6379,password=$X"}, ()),
        ({"path": "postgresql://u:p@host/db"}, ("online_store.path",)),
    ],
)
def test_a_password_in_the_configuration_is_pointed_out(
    online: dict[str, str], found: tuple[str, ...]
) -> None:
    """A variable is none."""
    assert spelled_out_secrets(yaml.safe_dump({"online_store": online})) == found


def test_the_projects_settings_go_along_and_the_environments_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment has an environment of its own; folders of the project mean nothing there."""
    project, bento = tmp_path / "project", tmp_path / "bento"
    project.mkdir()
    bento.mkdir()
    (project / "pyproject.toml").write_text(
        '[tool.trivet]\nmax_rows = 7\nfeature_repo = "features"\nlog_sample = 0.5\n'
    )
    monkeypatch.setenv("TRIVET_BATCH_ROWS", "3")
    write_service(bento, Settings(root=project), "shop", 2, {"version": "2"})
    monkeypatch.delenv("TRIVET_BATCH_ROWS")
    monkeypatch.setenv("TRIVET_ROOT", str(project))
    settings = pinned_settings(bento)
    assert (settings.max_rows, settings.batch_rows) == (7, 128)
    assert settings.root == bento
    assert settings.feature_repo == bento / "feature_repo"


def test_predictions_are_logged_only_where_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bento is never written to."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    monkeypatch.delenv("TRIVET_HOME", raising=False)
    assert pinned_settings(tmp_path).log_sample == 0
    monkeypatch.setenv("TRIVET_HOME", str(tmp_path / "log"))
    settings = pinned_settings(tmp_path)
    assert (settings.log_sample, settings.home) == (1.0, tmp_path / "log")


def test_a_folders_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    """Another name, or another byte, makes another."""
    (tmp_path / "a").write_text("1")
    first = digest_of_folder(tmp_path)
    assert digest_of_folder(tmp_path) == first
    (tmp_path / "a").write_text("2")
    second = digest_of_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, digest_of_folder(tmp_path)}) == 3


STEP = "def preprocess(columns):\n    return columns\n"


def copy_of(folder: Path, code: str | None, runtime: Runtime) -> Path:
    """Write a version's local copy, as far as its code goes."""
    (folder / "trivet").mkdir(parents=True)
    (folder / CONTRACT).write_text(shop(runtime=runtime).to_json())
    if code is not None:
        (folder / "trivet" / "preprocess.py").write_text(code)
    return folder


def test_a_service_may_be_held_to_the_code_in_its_folder(tmp_path: Path) -> None:
    """Wherever in it the file lies; an older step of its own is kept for a rollback."""
    service = tmp_path / "service"
    (service / "older").mkdir(parents=True)
    (service / "older" / "preprocess_1.py").write_text(STEP)
    onnx = Runtime(kind="onnx")
    carried = CarriedCode(service)
    carried.require(copy_of(tmp_path / "1", STEP, onnx))
    carried.require(copy_of(tmp_path / "2", None, onnx))
    with pytest.raises(CodeNotCarried, match=r"a preprocess\.py .* does not hold"):
        carried.require(copy_of(tmp_path / "3", STEP + "# another\n", onnx))
    with pytest.raises(CodeNotCarried, match="pyfunc"):
        carried.require(copy_of(tmp_path / "4", STEP, Runtime(kind="pyfunc", reason="no")))
