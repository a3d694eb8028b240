"""A version as a bento: it answers from any folder, with the project's registry out of reach."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from journey import Project, Service

from .processes import Imports
from .registry import MODEL

NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
"""A port at which nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A bento of version 1, and the folder from which it is served."""

    tag: str
    path: Path
    cwd: Path


@pytest.fixture(scope="module")
def pinned(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Pinned:
    """Build it."""
    built = project.json("trivet", "bento", MODEL, "1", "--json")
    assert built["new"] is True
    cwd = tmp_path_factory.mktemp("nowhere")
    return Pinned(tag=built["tag"], path=Path(built["path"]), cwd=cwd)


@pytest.fixture(scope="module")
def pinned_imports(tmp_path_factory: pytest.TempPathFactory) -> Imports:
    """Record what the pinned service's processes import."""
    return Imports(tmp_path_factory.mktemp("pinned-imports"))


@pytest.fixture(scope="module")
def pinned_service(project: Project, pinned: Pinned, pinned_imports: Imports) -> Iterator[Service]:
    """Serve it by its tag, from an empty folder."""
    command = ("bentoml", "serve", pinned.tag)
    env = pinned_imports.env | NOWHERE
    with Service(project, MODEL, env=env, command=command, cwd=pinned.cwd) as service:
        yield service


def test_it_answers_as_the_service_of_the_project_does(
    service: Service, pinned_service: Service, body: dict[str, Any]
) -> None:
    """The features come from the same stores."""
    expected = service.post("/predict", body).json()
    found = pinned_service.post("/predict", body)
    assert found.status_code == 200, found.text
    assert found.json()["predictions"] == expected["predictions"]
    assert found.json()["model"] == {"name": MODEL, "version": 1}


@pytest.mark.parametrize("route", ["versions/1", "aliases/champion"])
def test_its_version_has_its_routes(
    pinned_service: Service, body: dict[str, Any], route: str
) -> None:
    """By number, and by what it is here."""
    expected = pinned_service.post("/predict", body).json()["predictions"]
    assert pinned_service.post(f"/{route}/predict", body).json()["predictions"] == expected
    assert pinned_service.post("/versions/2/predict", body).status_code == 404


def test_it_says_what_it_is(service: Service, pinned_service: Service) -> None:
    """Its contract, its health, its metrics, and the Open Inference Protocol."""
    assert pinned_service.get("/contract").json() == service.get("/contract").json()
    assert pinned_service.get("/readyz").status_code == 200
    assert pinned_service.get(f"/v2/models/{MODEL}/ready").status_code == 200
    assert pinned_service.metric("trivet_live_version", model=MODEL) == 1
    assert pinned_service.get("/status").json()["versions"] == [1]


def test_no_process_of_it_follows_releases_or_imports_mlflow(
    pinned_service: Service, pinned_imports: Imports
) -> None:
    """There is nothing to follow."""
    started = pinned_service.processes()
    assert started
    assert not [p for p in started if "trivet.follow" in p.cmdline()]
    assert not [p for p in started if "mlflow" in pinned_imports.of(p.pid)]


def test_it_writes_neither_into_the_folder_nor_into_the_bento(
    pinned: Pinned, pinned_service: Service, body: dict[str, Any]
) -> None:
    """A bento is the same after it has served; the log needs a folder of its own."""
    before = sorted(pinned.path.rglob("*"))
    assert pinned_service.post("/predict", body).status_code == 200
    assert [p for p in sorted(pinned.path.rglob("*")) if "__pycache__" not in p.parts] == [
        p for p in before if "__pycache__" not in p.parts
    ]
    assert list(pinned.cwd.iterdir()) == []


def test_its_labels_name_the_version_the_contract_and_trivet(
    pinned: Pinned, service: Service, project: Project
) -> None:
    """BentoML shows them."""
    described = json.loads(project.run("bentoml", "get", pinned.tag, "-o", "json").stdout)
    labels = described["labels"]
    assert labels["model"] == MODEL
    assert labels["version"] == "1"
    (digest,) = {path.name for path in pinned.path.glob(f"src/pinned/models/{MODEL}/versions/*")}
    assert labels["contract_digest"] == digest
    wheel = next((pinned.path / "src" / "wheels").iterdir())
    assert wheel.name == f"trivet-{labels['trivet']}-py3-none-any.whl"


def test_a_container_would_install_the_wheel_and_these_very_versions(pinned: Pinned) -> None:
    """No address of a registry stands in what it installs from."""
    dockerfile = (pinned.path / "env" / "docker" / "Dockerfile").read_text()
    copied = dockerfile.index("./src/wheels ./src/wheels")
    assert copied < dockerfile.index("pip install -r $BENTO_PATH/env/python/requirements.txt")
    required = (pinned.path / "env" / "python" / "requirements.txt").read_text().split()
    wheel = next((pinned.path / "src" / "wheels").iterdir())
    assert f"./wheels/{wheel.name}" in required
    assert {line.partition("==")[0] for line in required} >= {"feast", "bentoml", "onnxruntime"}
    assert all("==" in line for line in required if not line.startswith("./wheels/"))
    with zipfile.ZipFile(wheel) as archive:
        assert "trivet/serving/service.py" in archive.namelist()


def test_what_a_container_installs_is_this_environment(pinned: Pinned, project: Project) -> None:
    """The Dockerfile's own command, in the environment that built it, has Trivet alone to install."""
    required = pinned.path / "env" / "python" / "requirements.txt"
    command = ["uv", "--directory", str(pinned.path / "src"), "pip", "install", "--offline"]
    command += ["--dry-run", "--python", sys.executable, "-r", str(required)]
    said = project.run(*command).stderr
    assert "Would install 1 package" in said
    assert "+ trivet @ file://" in said


def test_the_feature_stores_addresses_are_absolute_and_nothing_is_copied(
    pinned: Pinned, project: Project
) -> None:
    """The registry and the online store are where the project has them."""
    config = yaml.safe_load((pinned.path / "src/feature_repo/feature_store.yaml").read_text())
    assert config["registry"] == str(project.root / "data" / "registry.db")
    assert config["online_store"]["path"] == str(project.root / "data" / "online.db")
    assert not list(pinned.path.rglob("*.db"))


def test_built_again_it_is_the_same(pinned: Pinned, project: Project) -> None:
    """The one that is there is taken; one that is built anew has the same content."""
    again = project.json("trivet", "bento", MODEL, "1", "--json")
    assert (again["tag"], again["new"]) == (pinned.tag, False)
    elsewhere = {"BENTOML_HOME": str(pinned.cwd.parent / "another-store")}
    done = project.run("trivet", "bento", MODEL, "1", "--json", env=elsewhere)
    anew = json.loads(done.stdout)
    assert (anew["tag"], anew["new"]) == (pinned.tag, True)
    assert _contents(Path(anew["path"])) == _contents(pinned.path)


def test_a_version_that_is_not_there_is_refused(project: Project) -> None:
    """The sentence names those that are."""
    done = project.run("trivet", "bento", MODEL, "99", code=2)
    assert "has no version 99; versions: 1, 2, 3" in " ".join(done.stderr.split())


def _contents(bento: Path) -> dict[str, bytes]:
    files = [p for p in bento.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    # bento.yaml has the moment of the build.
    return {str(p.relative_to(bento)): p.read_bytes() for p in files if p.name != "bento.yaml"}
