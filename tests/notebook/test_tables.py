"""Costs as tables: what is free takes no room, what is unknown is said."""

from __future__ import annotations

from typing import Any

from jupyter_compute.notebook import cost, tables


def _run(usd: float | None) -> dict[str, Any]:
    return {
        "id": "r-a",
        "state": "done",
        "name": "fit",
        "machine": "r7i.large",
        "layer": "ec2",
        "ask": {"cpu": 1.0, "memory": 10**9},
        "created": 0.0,
        "finished": 41.0,
        "usd": usd,
        "notebook": "a.ipynb",
        "cell": "3",
    }


def _sums(**changes: Any) -> dict[str, Any]:
    plain = {
        "runs": 3,
        "run_s": 90.0,
        "cpu_asked_s": 720.0,
        "cpu_used_s": 300.0,
        "cpu_unknown_s": 0.0,
        "usd": 0.0,
        "usd_unknown_runs": 0,
        "idle": {"machine_s": 0.0, "usd": 0.0, "unknown_s": 0.0},
    }
    return plain | changes


def _costs(total: dict[str, Any], *groups: dict[str, Any], active: int = 0) -> dict[str, Any]:
    return {
        "since_day": "2026-11-16",
        "time_zone": "+0100",
        "by": "notebook",
        "groups": list(groups),
        "total": total,
        "active": {"runs": active, "usd": 0.5},
        "rehearsed": {"runs": 0, "usd": 0.0, "idle": {"usd": 0.0}},
    }


def test_runs_show_their_cost_where_there_is_one() -> None:
    assert "$0.21" in tables.runs([_run(0.0), _run(0.21)])
    assert "$?" in tables.runs([_run(None)])
    assert "$" not in tables.runs([_run(0.0)])
    assert "cost" not in tables.runs([_run(0.0)])


def test_the_status_says_what_it_costs_or_that_it_is_unknown() -> None:
    assert tables.spending({"usd_per_hour": 0.0, "today_usd": 0.0}) == "cost: $0/h now, $0 today"
    priced = {"usd_per_hour": 0.42, "today_usd": None}
    assert tables.spending(priced) == "cost: $0.42/h now, $? today"
    bounded = {"usd_per_hour": 0.42, "today_usd": 1.2, "budget_day": 5.0}
    assert tables.spending(bounded) == "cost: $0.42/h now, $1.20 / $5.00 today"


def test_what_was_idle_is_told_apart_and_not_where_all_is_free() -> None:
    idle = {"machine_s": 90.0, "usd": 0.25, "unknown_s": 30.0}
    costs = _costs(_sums(usd=1.5, idle=idle), {"notebook": "a", **_sums(usd=1.5, idle=None)})
    shown = cost.table(costs).splitlines()
    assert shown[0].split()[-2:] == ["cost", "idle"]
    assert shown[1].split()[-1] == "$1.50"
    assert shown[2].split()[-2:] == ["$1.50", "$0.25"]
    assert any(line.startswith("idle: 1 min 30 s of machines that no run had") for line in shown)
    assert "idle: the price of 30 s is not known" in shown
    free = cost.table(_costs(_sums(), {"notebook": "a", **_sums()}))
    assert "idle" not in free


def test_costs_as_a_table() -> None:
    groups = [{"notebook": "", **_sums(runs=1)}, {"notebook": "a.ipynb", **_sums(runs=2)}]
    assert cost.table(_costs(_sums(), *groups)).splitlines() == [
        "notebook       runs  run time    cpu time asked  used   cost",
        "(no notebook)  1     1 min 30 s  12 min          5 min  $0",
        "a.ipynb        2     1 min 30 s  12 min          5 min  $0",
        "total          3     1 min 30 s  12 min          5 min  $0",
        "since 2026-11-16 00:00 (+0100)",
    ]


def test_costs_say_what_they_do_not_know() -> None:
    unknown = _sums(usd=None, usd_unknown_runs=3, cpu_used_s=None, cpu_unknown_s=720.0)
    said = cost.table(_costs(unknown, {"notebook": "a.ipynb", **unknown}, active=2)).splitlines()
    assert said[-4].split()[-2:] == ["00:00", "(+0100)"]
    assert said[-5].split()[-2:] == ["?", "$?"]
    assert said[-3:] == [
        "2 run(s) go on and are not in it: $0.50 so far",
        "used: not known of 12 min of what was asked",
        "cost: not known of 3 run(s)",
    ]


def test_no_costs_are_said_in_words() -> None:
    nothing = _sums(runs=0, run_s=0.0, cpu_asked_s=0.0, cpu_used_s=0.0)
    assert cost.table(_costs(nothing)).startswith("no runs have ended\nsince 2026-11-16")
