"""The house rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

_HOMES = ("jupyter_compute", "tests", "scripts", "benchmarks")
_NAMELESS = {"common", "helpers", "misc", "utils"}


def _sources(root: Path) -> list[Path]:
    return [path for home in _HOMES for path in (root / home).rglob("*.py")]


def test_a_file_is_read_in_one_sitting(root: Path) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in _sources(root)}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_a_function_is_seen_at_once(root: Path) -> None:
    long = []
    for path in (root / "jupyter_compute").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                described = ast.get_docstring(node) is not None
                lines = node.end_lineno - node.body[described and len(node.body) > 1].lineno + 1
                if lines > 40:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert long == []


def test_a_module_is_named_after_what_it_does(root: Path) -> None:
    assert [path for path in _sources(root) if path.stem in _NAMELESS] == []
