"""The documentation says what the code does."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import trivet
from trivet.cli import trivet as command_line
from trivet.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language, free of the indentation of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


@pytest.mark.parametrize("page", TEXTS)
def test_python_blocks_use_only_names_that_exist(page):
    """Every import in the documentation's Python works."""
    for code in blocks(TEXTS[page], "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module} has no {name.name}"


@pytest.mark.parametrize("page", TEXTS)
def test_every_trivet_command_that_is_shown_exists(page):
    """A command in the documentation is one that the command line has, with its options."""
    for code in re.findall(r"(?:^|`|\$ )trivet ([a-z]+)([^`\n]*)", TEXTS[page], flags=re.MULTILINE):
        name, rest = code
        assert name in command_line.commands, name
        known = {opt for param in command_line.commands[name].params for opt in param.opts}
        assert set(re.findall(r"--[a-z0-9-]+", rest)) <= known, rest


@pytest.mark.parametrize("page", TEXTS)
def test_every_make_target_that_is_shown_exists(page):
    """A target in the documentation is one that the Makefile has."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", TEXTS[page], flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("page", TEXTS)
def test_every_relative_link_leads_somewhere(page):
    """Links between pages, and to pictures, name files that are there."""
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXTS[page]):
        assert (folder / target).exists(), target


def test_every_setting_is_documented_with_its_default():
    """The page of settings has a row for each, and its default is the one in the code."""
    page = TEXTS["docs/settings.md"]
    for name, field in Settings.model_fields.items():
        row = re.search(rf"^\| `TRIVET_{name.upper()}` \| (.*?) \|", page, flags=re.MULTILINE)
        assert row, name
        if not field.is_required():
            assert row[1] == f"`{field.default}`", name


def test_every_route_is_documented():
    """The page of the service names each route that stands in front of BentoML's."""
    front = (ROOT / "platform" / "trivet" / "serving" / "front.py").read_text()
    for path in re.findall(r'Route\(\s*"([^"]+)"', front):
        assert path == "/docs.json" or path in TEXTS["docs/service.md"], path


def test_every_metric_is_documented():
    """The page of the service names each metric."""
    serving = ROOT / "platform" / "trivet" / "serving"
    metrics = "".join(file.read_text() for file in sorted(serving.glob("*metrics.py")))
    for name in re.findall(r'name="(trivet_[a-z_]+)"', metrics):
        assert name in TEXTS["docs/service.md"], name


@pytest.mark.parametrize("name", trivet.__all__)
def test_every_public_name_can_be_imported(name):
    """What the package promises is there, and has a docstring or is a type."""
    assert getattr(trivet, name) is not None


def test_an_unknown_public_name_is_an_attribute_error():
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Candidat'"):
        trivet.Candidat  # noqa: B018 - the access is the test
