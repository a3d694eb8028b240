"""A pinned bento's code in processes of its own: installed by pip, served, and held to its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version as installed
from pathlib import Path

import pytest

from integration.test_imports import write_project
from trivet.serving.pinned.wheel import pack_wheel


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TRIVET_", "MLFLOW_")):
            monkeypatch.delenv(name)


def test_the_wheel_installs_and_holds_the_code_that_runs(tmp_path: Path) -> None:
    """By pip itself, which checks every digest in its record."""
    wheel = pack_wheel(tmp_path / "wheels")
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    import trivet

    source = Path(trivet.__file__).parent
    names = {p.relative_to(source) for p in source.rglob("*.py")}
    assert {p.relative_to(target / "trivet") for p in target.rglob("trivet/**/*.py")} == names
    script = "import trivet, sys; from importlib.metadata import version; print(version('trivet'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == installed("trivet")
    assert (target / "bin" / "trivet").exists()


BINDS = """
import bentoml
from trivet.serving.service import PinnedService, TrivetService
@bentoml.service(name="shop", service_class=TrivetService)
class Shop(PinnedService):
    model = "shop"
members = {name: getattr(Shop.inner, name) for name in dir(Shop.inner)}
hooks = [name for name in members if hasattr(members[name], "__bentoml_deployment_hook__")]
print(Shop.config["http"]["host"], hooks)
"""


@pytest.mark.parametrize(
    ("container", "host"),
    [({}, "127.0.0.1"), ({"BENTOML_CONTAINERIZED": "true"}, "0.0.0.0")],  # noqa: S104
)
def test_a_pinned_service_starts_no_follower_and_can_be_reached_in_a_container(
    tmp_path: Path, container: dict[str, str], host: str
) -> None:
    """Elsewhere it binds to loopback."""
    env = {k: v for k, v in os.environ.items() if k != "BENTOML_CONTAINERIZED"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BINDS],
        env=env | container | {"BENTOML_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == f"{host} ['forget_drain']"


ANSWERS = """
import sys
from pathlib import Path
from trivet.serving.carried import CarriedCode
from trivet.serving.worker import Worker
from trivet.settings import Settings
root = Path(sys.argv[1])
settings = Settings(root=root, home=root / ".trivet", log_sample=0)
slot = Worker("shop", settings, code=CarriedCode(root / "service")).slot
slot.stop()
print(slot.loaded.champion and slot.champion().number, slot.refused)
"""


def test_a_version_whose_code_is_not_carried_never_answers(tmp_path: Path) -> None:
    """The worker says why; with the file in its folder, it answers."""
    write_project(tmp_path)
    (tmp_path / "service").mkdir()

    def answers() -> str:
        command = [sys.executable, "-c", ANSWERS, str(tmp_path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    refused = answers()
    assert refused.startswith("None version 1: It would run a preprocess.py")
    (step,) = tmp_path.rglob("preprocess.py")
    (tmp_path / "service" / "preprocess.py").write_bytes(step.read_bytes())
    assert answers().split() == ["1", "None"]
