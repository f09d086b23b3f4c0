"""What runs and idle machines are said to have cost is what AWS would charge."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from typing import Any

import pytest

import services
from clouds import Cloud
from jupyter_compute import places
from sandboxes import wait

pytestmark = pytest.mark.slow

HURRIED = {"list_s": 0.5, "machine_idle_s": 3.0, "sweep_first_s": 0.5, "tick_s": 0.3}

SEED = 6
RUNS = 12


def accounts() -> dict[str, Any]:
    """Return what was rehearsed."""
    found: dict[str, Any] = services.ask("GET", "/v1/cost?by=layer").json["rehearsed"]
    return found


def total(sums: dict[str, Any]) -> float:
    return float(sums["usd"] + sums["idle"]["usd"])


def billed(cloud: Cloud) -> float:
    """Return what AWS would charge."""
    return float(cloud.sandbox.ask("bill")["usd"])


def random_asks(count: int) -> list[dict[str, Any]]:
    chance = random.Random(SEED)
    return [
        {
            "layer": chance.choice(["ec2", "ec2", "fargate"]),
            "cpu": chance.choice([0.5, 1, 2, 4]),
            "memory": chance.choice([1, 2, 4, 8]) * 10**9,
            "seconds": chance.uniform(0.1, 2.0),
        }
        for _ in range(count)
    ]


def test_receipts_and_idle_are_the_bill(new_cloud: Cloud) -> None:
    before = billed(new_cloud)
    streams = []
    for ask in random_asks(RUNS):
        seconds = ask.pop("seconds")
        streams.append(new_cloud.submit(f"import time\ntime.sleep({seconds})", **ask))
    receipts = [stream.until(kind="end")["receipt"] for stream in streams]
    assert all(receipt["cost_usd"] > 0 for receipt in receipts)
    assert all(receipt["attempts_usd"] == [receipt["cost_usd"]] for receipt in receipts)
    new_cloud.wait_until_empty()
    wait(lambda: len(new_cloud.machines()) == 1, 30)
    sums = accounts()
    assert sums["usd"] == pytest.approx(sum(r["cost_usd"] for r in receipts), rel=1e-3)
    assert total(sums) == pytest.approx(billed(new_cloud) - before, rel=0.02)
    status = services.ask("GET", "/v1/status").json
    assert (status["usd_per_hour"], status["today_usd"]) == (0, 0)


def test_the_death_of_the_service_loses_nothing_of_the_bill(shared_cloud: Cloud) -> None:
    cloud, timers = shared_cloud, {**HURRIED, "least_charged_s": 1.0}
    with cloud.home.entered(), cloud.hasty(timers):
        known = {machine["id"] for machine in cloud.sandbox.machines()}
        before = total(accounts())
        stream = cloud.submit("import time\ntime.sleep(600)", detached=True)
        run_id = stream.until(kind="accepted")["id"]
        stream.until(kind="state", state="running")
        wait(lambda: (cost(run_id) or 0) > 0)
        (first,) = [one for one in cloud.alive() if one["id"] not in known]
        cloud.sandbox.ask("freeze", machine=first["id"])  # or it would end itself
        assert cloud.service is not None
        cloud.service.kill()
        cloud.service.wait()
        paid = cost_written(run_id)
        assert paid > 0
        cloud.begin(timers)
        wait(lambda: first["id"] in {one["id"] for one in ended(cloud)}, 60)
        assert cost(run_id) >= paid
        services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "kill"})
        wait(lambda: len(ended(cloud)) == len(cloud.sandbox.machines()), 60)
        wait(lambda: len(cloud.machines()) == 1, 30)
        prices = {o["machine"]: o["usd_per_hour"] for o in cloud.sandbox.ask("bill")["items"]}
        mine = [one for one in cloud.sandbox.machines() if one["id"] not in known]
        assert first["id"] in {one["id"] for one in mine}
        due = sum(prices[m["id"]] * max(1.0, m["ending"] - m["launched"]) / 3600 for m in mine)
        # The cloud says in whole seconds when the one that was found was launched, and a call that
        # ends a machine has been answered a moment after it took effect.
        slack = 3 * prices[first["id"]] / 3600
        assert total(accounts()) - before == pytest.approx(due, rel=0.02, abs=slack)


def cost(run_id: str) -> float | None:
    usd: float | None = services.ask("GET", f"/v1/runs/{run_id}").json["usd"]
    return usd


def cost_written(run_id: str) -> float:
    """Return what the journal has of a run's cost, while no service is there."""
    with contextlib.closing(sqlite3.connect(places.journal())) as db:
        found = db.execute("SELECT usd FROM accrued WHERE run = ?", (run_id,)).fetchone()
    return 0.0 if found is None else float(found[0])


def ended(cloud: Cloud) -> list[dict[str, Any]]:
    return cloud.sandbox.machines("terminated")
