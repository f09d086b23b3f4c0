"""Budgets: what stops, what waits, what is kept, and that they outlive the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import services
from clouds import Cloud
from jupyter_compute.notebook import plan
from kernels import Kernel, ok
from sandboxes import wait

pytestmark = pytest.mark.slow

TIMERS = {"list_s": 0.5, "machine_idle_s": 3.0, "sweep_first_s": 0.5, "tick_s": 0.3}
BIG = {"cpu": 2, "memory": 10**9, "instances": ["c5.large"]}
SLEEP = "import time\ntime.sleep(600)"


@pytest.fixture(scope="module")
def hurried(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a pool that looks often."""
    with shared_cloud.home.entered(), shared_cloud.hasty(TIMERS):
        yield shared_cloud


@pytest.fixture
def hasty(hurried: Cloud) -> Iterator[Cloud]:
    """The same, without machines and budgets."""
    yield hurried
    for kind in ("run", "notebook", "day"):
        budget(kind, None)
    hurried.clear()


@pytest.fixture
def kernel(hasty: Cloud) -> Iterator[Kernel]:
    """A kernel that uses the cloud."""
    own = Kernel(hasty.home)
    ok(own.run("%load_ext jupyter_compute"))
    yield own
    own.close()


def budget(kind: str, usd: float | None) -> None:
    answer = services.ask("POST", "/v1/budget", {"kind": kind, "usd": usd})
    assert answer.status == 200, answer.json


def spent(kind: str = "day", notebook: str = "") -> float:
    """Return what was rehearsed."""
    found = services.ask("GET", f"/v1/budget?notebook={notebook}").json
    assert found["day"]["spent"] == 0
    return float(found[kind]["rehearsed"])


def notes(stream: services.Stream) -> list[str]:
    return [event["text"] for event in stream.events if event["kind"] == "note"]


def stopped(stream: services.Stream, kind: str, limit: float) -> dict[str, Any]:
    """Return the envelope of a run that a budget has stopped."""
    end = stream.until(kind="end")
    assert end["state"] == "failed", end
    envelope: dict[str, Any] = end["envelope"]
    assert (envelope["reason"], envelope["budget"], envelope["limit"]) == ("budget", kind, limit)
    assert envelope["spent"] >= limit
    return envelope


def test_a_run_is_warned_and_stopped_before_it_costs_more(hasty: Cloud) -> None:
    limit = 2e-4
    stream = hasty.submit(SLEEP, **BIG, max_cost=limit)
    stopped(stream, "run", limit)
    assert (
        len([text for text in notes(stream) if "of the run budget of $0.00020 spent" in text]) == 1
    )
    receipt = stream.events[-1]["receipt"]
    (bill,) = [one for one in hasty.sandbox.ask("bill")["items"] if one["ended"] is None]
    # A tick, and what it takes to end; on a busy computer that is more.
    assert limit <= receipt["cost_usd"] <= limit + 10 * bill["usd_per_hour"] / 3600


def test_a_day_budget_ends_runs_and_machines_and_others_wait(hasty: Cloud) -> None:
    first = hasty.submit(SLEEP, **BIG)
    first.until(kind="state", state="running")
    budget("day", spent() + 1e-4)
    limit = services.ask("GET", "/v1/budget").json["day"]["usd"]
    stopped(first, "day", limit)
    hasty.wait_until_empty()
    launched = len(hasty.launches())
    second = hasty.submit("6 * 7", **BIG)
    reason = second.until(kind="state", state="queued")["reason"]
    if not reason:
        reason = next(event["reason"] for event in second if event.get("reason"))
    assert "day budget of" in reason
    assert "%compute budget day USD" in reason
    assert services.ask("GET", "/v1/status").json["budget_day"] == limit
    free = services.submit("1")
    assert free.until(kind="end")["state"] == "done"
    assert len(hasty.launches()) == launched
    budget("day", None)
    hasty.sandbox.ask("clear")
    assert second.until(kind="end")["state"] == "done"


def test_a_notebook_budget_bounds_its_runs_and_no_others(hasty: Cloud) -> None:
    first = hasty.submit(SLEEP, **BIG, notebook="a.ipynb")
    first.until(kind="state", state="running")
    budget("notebook", 1e-4)
    stopped(first, "notebook", 1e-4)
    assert spent("notebook", "a.ipynb") >= 1e-4
    waits = hasty.submit("1", **BIG, notebook="a.ipynb")
    other = hasty.submit("1", **BIG, notebook="b.ipynb")
    assert other.until(kind="end")["state"] == "done"
    (run,) = services.ask("GET", "/v1/status").json["runs"]
    assert "notebook budget of $0.00010 reached" in run["reason"]
    waits.close()


def test_only_free_machines_and_only_known_prices(hasty: Cloud) -> None:
    since = len(hasty.launches())
    answer = services.ask("POST", "/v1/runs", services.spec("1", layer="ec2", max_cost=0))
    assert "--max-cost 0: nothing that ec2 offers is free" in answer.json["message"]
    assert services.submit("1", max_cost=0).until(kind="end")["state"] == "done"
    assert len(hasty.launches()) == since


def test_budgets_outlive_the_service(hasty: Cloud) -> None:
    budget("day", 12.5)
    budget("run", 0.5)
    assert hasty.service is not None
    hasty.service.kill()
    hasty.service.wait()
    hasty.begin(TIMERS)
    found = services.ask("GET", "/v1/budget").json
    assert (found["day"]["usd"], found["run"]["usd"], found["notebook"]["usd"]) == (12.5, 0.5, None)


def test_a_map_keeps_what_is_there(kernel: Kernel) -> None:
    reply = ok(
        kernel.run(
            """
import time
from jupyter_compute import remote
from jupyter_compute.errors import BudgetReached

@remote(on="ec2", cpu=2, memory="1G", instance="c5.large", max_cost=3e-4)
def work(number):
    time.sleep(0.5)
    return number

found, error = [], None
try:
    for value in work.map(range(100000)):
        found.append(value)
except BudgetReached as reached:
    error = reached
(found == list(range(len(found))), len(found) > 3, error.limit, error.spent >= error.limit)
"""
        )
    )
    assert reply.result == "(True, True, 0.0003, True)"
    shown = ok(kernel.run("%compute budget day 5")).stdout
    assert "$5.00" in shown
    assert "/ $5.00 today" in ok(kernel.run("%compute")).stdout
    for line in ("day", "day -1", "week 5", "day 1 2", "day 5EUR", "day nan"):
        assert kernel.run(f"%compute budget {line}").status == "error"
    ok(kernel.run("%compute budget day off"))
    wait(lambda: not services.ask("GET", "/v1/status").json["runs"])


def test_a_plan_says_what_a_run_will_cost(hasty: Cloud) -> None:
    code, ask = "ab" * 16, {"layer": "ec2", **BIG, "max_cost": 0.25}
    for _ in range(2):
        hasty.submit("1", **BIG, code=code).until(kind="end")
    answer = services.ask("POST", "/v1/plan", {**ask, "code": code}).json
    assert answer["share_usd_per_hour"] == pytest.approx(answer["usd_per_hour"])
    past = answer["past"]
    assert past["runs"] == 2
    group = services.ask("POST", "/v1/plan", {**ask, "layer": "aws", "code": code}).json
    assert (group["layer"], group["past"]["runs"]) == ("ec2", 2)
    for seconds, usd in (("shortest_s", "least_usd"), ("longest_s", "most_usd")):
        due = answer["usd_per_hour"] * past[seconds] / 3600
        assert past[usd] == pytest.approx(due)
    shown = plan.costs(answer)
    assert [line.split(":")[0] for line in shown[1:]] == [
        "as in its last 2 runs",
        "is stopped at $0.25",
    ]
    assert services.ask("POST", "/v1/plan", {**ask, "code": "cd" * 16}).json["past"] is None


def test_more_memory_after_running_out_of_it_is_a_larger_machine(hasty: Cloud) -> None:
    known = {machine["id"] for machine in hasty.sandbox.machines()}
    ask = {"layer": "fargate", "cpu": 0.25, "memory": 6 * 10**8, "memory_high": 25 * 10**8}
    end = hasty.submit("len(bytearray(b'x') * 900_000_000)", **ask).until(kind="end")
    assert end["state"] == "done", end
    assert end["receipt"]["attempts"] == 2
    assert len(end["receipt"]["attempts_usd"]) == 2
    sizes = [m["memory_mib"] for m in hasty.sandbox.machines() if m["id"] not in known]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 2


def test_no_launch_costs_more_than_what_is_left(hasty: Cloud) -> None:
    ask = {**BIG, "spot": "never"}
    price = services.ask("POST", "/v1/plan", {"layer": "ec2", **ask}).json["usd_per_hour"]
    before, launched = float(hasty.sandbox.ask("bill")["usd"]), len(hasty.sandbox.machines())
    allowed = 2.5 * price * 70 / 3600  # a minute, a look and the end, each time
    budget("day", spent() + allowed)
    runs = [hasty.submit(SLEEP, **ask) for _ in range(4)]
    told = "the least that a c5.large (sandbox) costs is $0.0016"
    wait(lambda: sum(told in one["reason"] for one in waiting()) == 2, 60)
    for run in runs:
        run_id = run.until(kind="accepted")["id"]
        services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "kill"})
    hasty.wait_until_empty()
    assert len(hasty.sandbox.machines()) == launched + 2
    assert float(hasty.sandbox.ask("bill")["usd"]) - before <= allowed


def waiting() -> list[dict[str, Any]]:
    """Return the runs that have no machine."""
    runs = services.ask("GET", "/v1/status").json["runs"]
    return [run for run in runs if run["state"] == "queued"]


def test_a_budget_set_later_keeps_runs_from_unknown_prices(hasty: Cloud) -> None:
    """The prices of spot machines are not told: such a machine has none."""
    assert hasty.service is not None
    hasty.service.kill()
    hasty.service.wait()
    hasty.sandbox.ask("fault", action="DescribeSpotPriceHistory", code="InternalError", count=9999)
    hasty.begin({**TIMERS, "unavailable_s": 1.0, "machine_idle_s": 60.0}, heard=False)
    ask = {**BIG, "spot": "always"}
    first = hasty.submit(SLEEP, **ask)
    run_id = first.until(kind="accepted")["id"]
    first.until(kind="state", state="running")
    hasty.sandbox.ask(
        "fault", action="RunInstances", code="InsufficientInstanceCapacity", count=9999
    )
    second = hasty.submit("6 * 7", **ask)
    second.until(kind="accepted")
    budget("day", 5.0)
    services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "kill"})
    first.until(kind="end")
    wait(lambda: any("is not known" in one["reason"] for one in waiting()), 60)
    refused = services.ask("POST", "/v1/runs", services.spec("1", layer="ec2", **ask))
    assert "there is a budget, and no price is known" in refused.json["message"]
    budget("day", None)
    hasty.sandbox.ask("clear")
    assert second.until(kind="end")["state"] == "done"
