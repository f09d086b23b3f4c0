"""The benchmarks are run by people; this checks that they can be."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_comparison_measures_and_leaves_nothing_behind(root, tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(root / "benchmarks" / "peers.py"), "--repeat", "1"]
    command += ["--only", "jupyter-compute", "--work", "round-trip", "--json", str(figures)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=100, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    (row,) = found["rows"]
    assert row["median"] > 0
    assert row["ratio"] == 1
    assert row["note"] == ""  # no failure, and no process that the pool left running
    assert found["left_running"] == []
    assert "trivial round trip" in done.stdout
