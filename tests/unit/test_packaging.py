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
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    shipped = {name for name in names if ".data/" not in name}
    sources = (path.relative_to(root) for path in (root / "jupyter_compute").rglob("*.*"))
    known = {str(path) for path in sources if path.suffix != ".pyc"}
    # What is compiled is data of JupyterLab's, in its own place and nowhere else.
    assert shipped == {name for name in known if "/labextension/" not in name}
    assert "jupyter_compute/jupyter-compute.yaml" in shipped
    data = {name.partition(".data/data/")[2] for name in names} - {""}
    front = "share/jupyter/labextensions/jupyter-compute"
    compiled = {path.name for path in (root / "jupyter_compute/labextension/static").iterdir()}
    assert {f"{front}/static/{name}" for name in compiled} <= data
    assert {f"{front}/package.json", f"{front}/install.json"} <= data
    assert "etc/jupyter/jupyter_server_config.d/jupyter_compute.json" in data
