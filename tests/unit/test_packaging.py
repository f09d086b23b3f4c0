from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    (enabling,) = (name for name in names if ".data/data/" in name)
    assert enabling.endswith("/etc/jupyter/jupyter_server_config.d/jupyter_compute.json")
    shipped = names - {enabling}
    sources = (path.relative_to(root) for path in (root / "jupyter_compute").rglob("*.*"))
    assert shipped == {str(path) for path in sources if path.suffix != ".pyc"}
    assert "jupyter_compute/jupyter-compute.yaml" in shipped
