"""What panels see of a pool of any size, with the records of the pool and a made-up crowd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowd import Crowd
from jupyter_compute.pool.picture import MAX_BYTES
from jupyter_compute.pool.state import State
from panels import Panel


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Crowd]:
    """Three machines and 50 runs."""
    crowd = Crowd(3, 50, tmp_path)
    yield crowd
    crowd.close()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Crowd]:
    """200 machines and 5000 runs."""
    crowd = Crowd(200, 5000, tmp_path)
    yield crowd
    crowd.close()


def _look(crowd: Crowd, panel: Panel) -> int:
    """Let the panel look at the crowd as it is now; return how long the answer was."""
    crowd.state._looked = float("-inf")
    answer = crowd.state.answer(panel.cursor)
    assert len(answer) <= MAX_BYTES
    panel.apply(answer)
    return len(answer)


def test_a_small_pool_is_seen_in_full(small: Crowd) -> None:
    small.sample(1.5)
    panel = Panel()
    _look(small, panel)
    assert set(panel.machines) == {"ec2-0", "ec2-1", "ec2-2"}
    assert len(panel.runs) == 50
    assert panel.facts["omitted"] == {"machines": 0, "runs": 0}
    states = [run["state"] for run in panel.runs.values()]
    assert panel.facts["totals"]["runs"] == {
        "queued": states.count("queued"),
        "starting": 0,
        "running": 12,
        "ended": states.count("done"),
    }
    assert panel.facts["totals"]["cpu"] == 24
    running = [run for run in panel.runs.values() if run["state"] == "running"]
    on_first = [run for run in running if run["machine_id"] == "ec2-0"]
    assert panel.machines["ec2-0"]["runs"] == len(on_first) == 4
    used = sum(run["cpu_used"] for run in on_first)
    assert panel.machines["ec2-0"]["cpu_used"] == pytest.approx(used, abs=0.01)
    done = next(run for run in panel.runs.values() if run["state"] == "done")
    assert done["receipt"]["cost_usd"] == 0.0123
    assert done["receipt"]["advice"].startswith("--memory 12G")


def test_an_unchanged_pool_costs_a_few_hundred_bytes(small: Crowd) -> None:
    panel = Panel()
    _look(small, panel)
    assert _look(small, panel) < 600


@pytest.mark.slow
def test_a_large_pool_fits_and_says_what_is_left_out(large: Crowd) -> None:
    for ago in range(300, 0, -1):
        large.sample(ago)
    panel = Panel()
    _look(large, panel)
    totals, omitted = panel.facts["totals"], panel.facts["omitted"]
    assert totals["machines"] == 200 == len(panel.machines) + omitted["machines"]
    assert (totals["cpu"], totals["runs"]["running"]) == (1600, 800)
    assert len(panel.machines) > 30
    assert len(panel.runs) > 30
    active = totals["runs"]["queued"] + totals["runs"]["running"]
    assert omitted["runs"] == active + 200 - len(panel.runs)
    assert {run["state"] for run in panel.runs.values()} == {"running"}
    assert len([value for value in panel.total.values() if value]) >= 295
    assert len(panel.points) == len(panel.machines) + len(panel.runs)
    assert all(len(points) >= 9 for points in panel.points.values())


@pytest.mark.slow
def test_in_a_large_pool_too_a_panel_that_looks_on_sees_what_a_new_one_sees(
    large: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, start = Panel(), large.clock.now()
    for number in range(12):
        # Both see the same second.
        monkeypatch.setattr(large.clock, "now", lambda second=start + number: second)
        large.sample()
        _look(large, panel)
        fresh = Panel()
        fresh.apply(large.state.answer("0"))
        assert panel.shown() == fresh.shown()
        shown = [large.active[name] for name in panel.runs if name in large.active]
        for run in shown[:7]:
            large.end(run)
        waiting = [run for run in large.active.values() if run.state == "queued"]
        for run in waiting[:7]:
            large.place(run, "ec2-99")
        del large.scaler.machines[f"ec2-{number}"]
        for run in [run for run in large.active.values() if run.machine_id == f"ec2-{number}"]:
            run.machine_id, run.state = None, "queued"


def test_long_and_strange_texts_are_cut(small: Crowd) -> None:
    run = next(iter(small.active.values()))
    run.reason = '\x00\ud800"\\é' * 3000
    panel = Panel()
    _look(small, panel)
    assert len(panel.runs[run.id]["reason"]) == 300
    assert panel.runs[run.id]["reason"].endswith("…")


def test_a_clock_that_was_set_back_begins_anew(small: Crowd) -> None:
    panel = Panel()
    _look(small, panel)
    now = small.clock.now()
    small.clock.now = lambda: now - 3600  # type: ignore[method-assign]
    _look(small, panel)
    small.sample(-1)
    assert panel.facts["totals"]["machines"] == 3
    assert int(panel.cursor.rpartition("-")[2]) < now - 3000


def test_runs_that_ended_before_anybody_looked_are_in_the_journal(small: Crowd) -> None:
    panel = Panel()
    _look(small, panel)
    run = next(iter(small.active.values()))
    small.end(run)
    _look(small, panel)
    later = Panel()
    again = State(
        small.machines, small.active, small.telemetry, small.journal, small.costs, small.clock
    )
    later.apply(again.answer("0"))
    assert later.runs == panel.runs
    assert later.runs[run.id]["receipt"]["run_s"] == 61.2
