"""The rules of the JupyterLab extension, and what its build gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import jupyter_compute

_OURS = re.compile(r"@jupyterlab/|@lumino/|react$|@types/react$")
_TOOLS = {"@jupyter/builder", "typescript"}


@pytest.fixture
def home(root: Path) -> Path:
    """The directory of the extension."""
    return root / "labextension"


def _sources(home: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (home / "src").rglob("*.ts*")}


def test_it_has_few_files_which_are_read_in_one_sitting(home: Path) -> None:
    lengths = {name: len(text.splitlines()) for name, text in _sources(home).items()}
    assert 0 < len(lengths) <= 10
    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_it_is_strict_and_knows_what_everything_is(home: Path) -> None:
    assert json.loads((home / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True
    escape = re.compile(r"\bany\b(?=\s*[;,)\]>=|&])|@ts-|eslint-disable|console\.log")
    found = [
        (n, line)
        for n, t in _sources(home).items()
        for line in t.splitlines()
        if escape.search(line)
    ]
    assert found == []


def test_it_depends_on_jupyterlab_and_react_only(home: Path) -> None:
    package = json.loads((home / "package.json").read_text())
    assert [name for name in package["dependencies"] if not _OURS.match(name)] == []
    tools = package["devDependencies"].keys() - _TOOLS
    assert [name for name in tools if not _OURS.match(name)] == []
    imported = {
        name
        for text in _sources(home).values()
        for name in re.findall(r"from '([^.'][^']*)'", text)
    }
    assert imported <= package["dependencies"].keys()


def test_its_version_is_the_package_s(home: Path) -> None:
    package = json.loads((home / "package.json").read_text())
    assert package["version"] == jupyter_compute.__version__


def test_its_lock_file_names_no_registry(home: Path) -> None:
    assert re.findall(r"https?://\S+", (home / "yarn.lock").read_text()) == []


def test_it_has_the_colours_of_the_theme_only(home: Path) -> None:
    style = (home / "style" / "base.css").read_text()
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(", style) == []
    named = re.findall(r"(?:color|background|border[a-z-]*|fill|stroke):\s*([a-z]+)\s*;", style)
    assert set(named) <= {"inherit", "none"}


def test_what_the_browser_loads_is_small(root: Path) -> None:
    static = root / "jupyter_compute" / "labextension" / "static"
    sizes = [path.stat().st_size for path in static.glob("*.js")]
    assert len(sizes) >= 3, "it is built by `pip install`"
    assert sum(sizes) < 100_000
