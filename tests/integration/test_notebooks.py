"""The example notebooks give what they say, checked as a user would with nbval."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from homes import Home

_NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("notebook", _NOTEBOOKS, ids=lambda path: path.stem)
def test_an_example_notebook_reproduces_its_outputs(notebook: Path, home: Home) -> None:
    shutil.copytree(notebook.parent, home.notebooks, dirs_exist_ok=True)
    sanitizer = files("jupyter_compute") / "nbval-sanitize.cfg"
    options = ["--nbval-lax", "--nbval-current-env", f"--nbval-sanitize-with={sanitizer}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, notebook.name],
        cwd=home.notebooks,
        env=home.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
