"""Receipts, their advice and their sums, as a notebook and a terminal show them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from homes import Home
from jupyter_compute.ask import parse_memory
from kernels import Kernel, Reply, ok

pytestmark = pytest.mark.slow


@pytest.fixture
def loaded(kernel: Kernel) -> Kernel:
    """A kernel with the extension, in a home of its own."""
    ok(kernel.run("%load_ext jupyter_compute\nimport jupyter_compute"))
    return kernel


def _receipt(reply: Reply) -> str:
    return ok(reply).status_lines[-1].splitlines()[0]


def _receipts(kernel: Kernel) -> list[dict[str, Any]]:
    said = ok(kernel.run("[run.receipt.to_wire() for run in jupyter_compute.runs()]"))
    found: list[dict[str, Any]] = ast.literal_eval(said.result)
    return found


def test_a_cell_that_asks_for_too_much_is_told_so_from_its_own_history(loaded: Kernel) -> None:
    cell = "%%remote --memory 2G\nlen(bytearray(b'x') * 10**8)"
    first = _receipt(loaded.run(cell))
    assert first.endswith(" of 2 GB · --memory 250M would do (as in this run)")
    second = _receipt(loaded.run(cell + "  # the same code, laid out in another way"))
    assert second.endswith(" · --memory 250M would do (as in 2 runs)")
    other = _receipt(loaded.run("%%remote --memory 2G\nlen(bytearray(b'y') * 10**8)"))
    assert other.endswith("(as in this run)")
    newest, *_ = _receipts(loaded)
    assert newest["advised"] == {"memory": 250 * 10**6}
    assert parse_memory("250M") >= newest["memory_peak"]


def test_advice_has_room_for_inputs_that_are_only_mapped(loaded: Kernel) -> None:
    ok(loaded.run("import numpy as np\nlarge = np.zeros(75_000_000)"))
    cell = "%%remote --memory {}\nlarge[:5].sum()"
    assert " · --memory 800M would do " in _receipt(loaded.run(cell.format("4G")))
    assert "peak" in _receipt(loaded.run(cell.format("800M")))
    assert loaded.run(cell.format("500M")).ename == "UsageError"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="nobody gets 2 of one CPU")
def test_cpus_that_stayed_idle_are_told_of_once_they_were_measured(loaded: Kernel) -> None:
    cell = "%%remote --cpu 2\nimport time; time.sleep({})"
    short = _receipt(loaded.run(cell.format(2)))
    assert "would do" not in short
    long = _receipt(loaded.run(cell.format(6)))
    assert long.endswith(" · --cpu 1 would do (as in this run)")
    newest, *_ = _receipts(loaded)
    assert newest["cpu_peak"] < 1
    assert newest["advised"] == {"cpu": 1}


def test_a_map_is_advised_for_one_of_its_lanes_and_counts_all_of_them(loaded: Kernel) -> None:
    define = "@jupyter_compute.remote(memory='2G')\ndef half(x): return x / 2"
    ok(loaded.run(f"{define}\ntotal = sum(half.map(range(500)))"))
    (receipt,) = _receipts(loaded)
    assert (receipt["items"], receipt["cost_usd"]) == (500, 0)
    assert receipt["advice"] == "--memory 250M would do (as in this run)"
    assert receipt["advised"] == {"memory": 250 * 10**6}
    command = [sys.executable, "-m", "jupyter_compute", "cost", "--json"]
    total = json.loads(subprocess.check_output(command))["total"]
    assert total["cpu_asked_s"] == pytest.approx(receipt["cpu"] * receipt["lane_s"], abs=0.002)


def test_nobody_is_advised_about_what_nobody_asked_for(loaded: Kernel) -> None:
    assert "would do" not in _receipt(loaded.run("%%remote\nlen(bytearray(10**8))"))
    ok(loaded.run("%compute defaults --memory 2G"))
    assert "would do" in _receipt(loaded.run("%%remote\nlen(bytearray(10**8))"))


def test_a_run_that_had_to_climb_its_ladder_is_told_where_to_start(loaded: Kernel) -> None:
    body = "\nfilled = bytearray(b'x') * 700_000_000\nsize = len(filled)\ndel filled"
    climbed = _receipt(loaded.run("%%remote --memory 256M..2G" + body))
    assert "3 attempts" in climbed
    assert climbed.endswith(" · --memory 1G..2G avoids the 2 reruns (as in this run)")
    advised = _receipt(loaded.run("%%remote --memory 1G..2G" + body))
    assert "attempts" not in advised
    assert "--memory" not in advised
    failed = loaded.run("%%remote --memory 300M" + body)
    assert failed.ename == "OutOfMemory"
    assert ": 2 earlier runs needed up to 7" in failed.status_lines[-1]


def test_costs_are_the_sums_of_receipts(loaded: Kernel, home: Home) -> None:
    ok(loaded.run("%%remote --cpu 2\nsum(range(10**7))"))
    ok(loaded.run("%%remote\nimport time; time.sleep(0.1)"))
    assert loaded.run("%%remote\n1 / 0").status == "error"
    receipts = _receipts(loaded)
    command = [sys.executable, "-m", "jupyter_compute", "cost", "--json", "--by", "layer"]
    costs = json.loads(subprocess.check_output(command))
    total = costs["total"]
    assert costs["groups"] == [{"layer": "local", **total}]
    assert total["runs"] == len(receipts) == 3
    assert total["usd"] == sum(receipt["cost_usd"] for receipt in receipts) == 0
    for name, each in {
        "run_s": [r["run_s"] for r in receipts],
        "cpu_asked_s": [r["cpu"] * r["run_s"] for r in receipts],
        "cpu_used_s": [(r["cpu_mean"] or 0) * r["run_s"] for r in receipts],
    }.items():
        assert total[name] == pytest.approx(sum(each), abs=0.002), name

    said = ok(loaded.run("%compute cost --by layer")).stdout.splitlines()
    assert said[0].split() == [
        "layer",
        "runs",
        "run",
        "time",
        "cpu",
        "time",
        "asked",
        "used",
        "cost",
    ]
    assert [line.split()[:2] for line in said[1:3]] == [["local", "3"], ["total", "3"]]
    assert all(line.split()[-1] == "$0" for line in said[1:3])
    assert said[3].startswith("since 20")
    assert ok(loaded.run("%compute")).stdout.endswith("cost: $0/h now, $0 today\n")
    assert "cost" not in ok(loaded.run("%compute runs")).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--since yesterday", "'yesterday' is not how long ago"),
        ("--since -7d", "'-7d' is not how long ago"),
        ("--since 0", "e.g. 7d"),
        ("--since 99999d", "at most 3650 days"),
        ("--since", "--since needs a value, e.g. 7d"),
        ("--since 7d --since 8d", "--since is given twice, '7d' and '8d'"),
        ("--sinse 7d", "did you mean --since?"),
        ("--by days", "did you mean day?"),
        ("--by notebok", "did you mean notebook?"),
        ("--by Layer", "did you mean layer?"),
        ("--by ''", "needs a value"),
        ("--by x", "is not notebook, layer or day"),
        ("day", "belongs to no option"),
        ("--since '7d", "quote"),
    ],
)
def test_a_wrong_question_about_costs_is_refused_in_one_line(
    shared_kernel: Kernel, options: str, words: str
) -> None:
    reply = shared_kernel.run(f"%compute cost {options}")
    assert (reply.status, reply.ename) == ("error", "UsageError")
    assert words in reply.stderr
    assert reply.stderr.count("\n") == 1


def test_help_shows_the_options(shared_kernel: Kernel) -> None:
    assert "--since TIME" in ok(shared_kernel.run("%compute cost --help")).stdout
    assert "%compute cost" in ok(shared_kernel.run("%compute --help")).stdout
