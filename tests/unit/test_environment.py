"""When the project's commands install anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from environment import fingerprint


@pytest.fixture
def clone(root: Path, tmp_path: Path) -> Path:
    """As much of a clone as is looked at."""
    own = tmp_path / "clone"
    shutil.copytree(
        root / "labextension",
        own / "labextension",
        ignore=shutil.ignore_patterns("node_modules", "lib", ".yarn"),
    )
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, own / name)
    return own


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "constraints.txt",
        "labextension/package.json",
        "labextension/yarn.lock",
        "labextension/tsconfig.json",
        "labextension/src/wire.ts",
        "labextension/src/deeper/new.ts",
        "labextension/style/base.css",
        "labextension/schema/plugin.json",
    ],
)
def test_they_do_if_something_that_is_installed_has_changed(clone: Path, name: str) -> None:
    before = fingerprint(clone)
    (clone / "labextension" / "lib").mkdir()
    (clone / "labextension" / "lib" / "wire.js").write_text("compiled")
    assert fingerprint(clone) == before
    (clone / name).parent.mkdir(exist_ok=True)
    with (clone / name).open("a") as file:
        file.write(" ")
    assert fingerprint(clone) != before
