"""Settings: Dask's own configuration, which is only loaded when somebody has configured us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homes import Home

pytestmark = pytest.mark.slow


def _get(*names: str, before: str = "", **variables: str) -> list[Any]:
    """Return settings, and whether Dask was loaded for them, in a fresh process."""
    code = (
        f"import json, sys\n{before}\nfrom jupyter_compute import settings\n"
        f"found = [settings.get(name) for name in {names!r}]\n"
        "print(json.dumps([*found, 'dask' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        check=True,
    )
    return list(json.loads(done.stdout))


def test_defaults_do_not_load_dask(home: Home) -> None:
    assert _get("layer", "layers.local.oversize", "defaults") == ["local", "cap", {}, False]


def test_a_variable_counts(home: Home) -> None:
    found = _get(
        "layers.local.oversize",
        "idle-timeout",
        DASK_JUPYTER_COMPUTE__LAYERS__LOCAL__OVERSIZE="refuse",
    )
    assert found == ["refuse", "10m", True]


@pytest.mark.parametrize("spelling", ["jupyter-compute", "jupyter_compute"])
def test_a_file_counts(home: Home, spelling: str) -> None:
    directory = Path(os.environ["DASK_CONFIG"])
    directory.mkdir(exist_ok=True)
    (directory / "mine.yaml").write_text(f"{spelling}:\n  defaults: {{cpu: 4}}\n")
    assert _get("defaults", "layer") == [{"cpu": 4}, "local", True]


def test_a_file_about_something_else_does_not_load_dask(home: Home) -> None:
    directory = Path(os.environ["DASK_CONFIG"])
    directory.mkdir(exist_ok=True)
    (directory / "other.yaml").write_text("distributed:\n  version: 2\n")
    assert _get("layer") == ["local", False]


def test_what_is_set_in_the_process_counts(home: Home) -> None:
    before = "import dask\ndask.config.set({'jupyter-compute.layer': 'ec2'})"
    assert _get("layer", "idle-timeout", before=before) == ["ec2", "10m", True]


def test_a_setting_that_does_not_exist(home: Home) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        _get("layers.local.colour")
