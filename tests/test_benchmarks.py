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


def _figures(root, tmp_path, name, *options, patience_s=100):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(root / "benchmarks" / name), "--json", str(figures), *options]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=patience_s, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(figures.read_text())


@pytest.mark.slow
def test_packing_is_near_the_bound_and_below_simpler_ways(root, tmp_path):
    (three, ten) = _figures(root, tmp_path, "packing.py", "--seeds", "2", "--most", "10")
    assert (three["runs"], ten["runs"]) == (3, 10)
    packed, first_fit, one_shape, _ = ten["means"]
    assert 1 <= packed <= 1.05
    assert packed < first_fit
    assert packed < one_shape


@pytest.mark.slow
def test_a_simulated_day_costs_less_than_with_one_type(root, tmp_path):
    found = _figures(
        *(root, tmp_path, "day.py"),
        *("--bursts", "1", "--singles", "100", "--largest", "0"),
    )
    assert found["packed, spot"]["usd"] < found["packed"]["usd"] < found["best type"]["usd"]
    assert found["packed, spares"]["usd"] <= found["packed"]["usd"]
    assert all(row["launches_per_run"] < 1 for row in found.values())
    assert all(row["bound_usd"] < row["usd"] for row in found.values())
    for name in ("packed", "packed, spot"):
        assert 0 < found[name]["usd_boot"] + found[name]["usd_empty"] < found[name]["usd"]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_pool_survives_a_minute_of_everything(root, tmp_path):
    found = _figures(root, tmp_path, "soak.py", "--minutes", "1", "--seed", "7", patience_s=480)
    assert found["violations"] == []
    assert found["looks"] > 20
    assert found["work"]["submit: ok"] > 5
    assert found["machines"] > 2
