"""The rules of the JupyterLab extension, and what its build gives."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import jupyter_compute
from jupyter_compute.errors import AskError
from jupyter_compute.notebook.option_table import OPTIONS, Option

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


def test_it_knows_the_options_of_the_magic(home: Path) -> None:
    cells = (home / "src" / "cells.ts").read_text()
    (flags,) = re.findall(r"FLAGS = new Set\(\[(.*?)\]\)", cells, re.DOTALL)
    alone = {f"--{option.name}" for option in OPTIONS if not option.value}
    assert set(re.findall(r"'(--[a-z-]+)'", flags)) == alone
    valued = {f"--{option.name}" for option in OPTIONS if option.value}
    fields = re.findall(r"option: '(--[a-z-]+)'", cells)
    assert len(fields) == len(set(fields)) > 4
    assert set(fields) <= valued


def test_its_form_refuses_nothing_that_the_magic_takes(home: Path) -> None:
    cells = (home / "src" / "cells.ts").read_text()
    (size,) = re.findall(r"const SIZE = String.raw`(.*)`;", cells)
    patterns = {"memory": re.compile(rf"^{size}(\s*\.\.\s*{size})?$", re.IGNORECASE)}
    for field in cells.split("option: '--")[1:]:
        if found := re.match(r"(\w+)',[^}]*?pattern: /(.*)/(i?),", field):
            patterns[found[1]] = re.compile(found[2], re.IGNORECASE if found[3] else 0)
    options = {option.name: option for option in OPTIONS}
    assert _TRIED.keys() == patterns.keys()
    for name, (right, wrong) in _TRIED.items():
        for value in right:
            assert patterns[name].fullmatch(value), f"--{name} {value}"
            assert _takes(options[name], value), f"--{name} {value}"
        for value in wrong:
            assert not patterns[name].fullmatch(value), f"--{name} {value}"
            assert not _takes(options[name], value), f"--{name} {value}"


_TRIED: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "cpu": (("1", "0.5", ".5", "1.", "16"), ("0", "0.05", "x", "-1", "1,5")),
    "memory": (
        ("4G", "4g", "500M", "32GiB", "4Gi", "1.5 GB", ".5G", "8G..64G", "8G .. 64G"),
        ("32", "G", "8G..", "8..64G", "4X", "-4G"),
    ),
    "gpu": (("0", "2", "2.0", "L4", "A10G:2", "nvidia tesla:1"), ("L4:", ":2", "1.5")),
    "retries": (("0", "3", "3.0"), ("-1", "1.5", "x")),
    "timeout": (
        ("90", "90s", "10m", "10min", "10 min", "1h30m", "1h 30m", "1.5h", "2d"),
        ("m", "10x", "-5"),
    ),
    "name": (("x", "my run", "y" * 200), ("y" * 201, "a\nb")),
}


def _takes(option: Option, value: str) -> bool:
    try:
        option.parse(value, f"--{option.name}")
    except AskError:
        return False
    return True


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
