"""Machines and services that die, on the sandbox: what users see, and what there is afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from clouds import LONE, Cloud, until_second
from sandboxes import wait

pytestmark = pytest.mark.slow

TIMERS = {
    "breaker_s": [60.0],
    "list_s": 0.5,
    "notice_check_s": 0.5,
    "stray_s": 3.0,
    "sweep_first_s": 0.5,
    "tick_s": 0.3,
}


@pytest.fixture(scope="module")
def hurried(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a pool that waits for nothing long."""
    with shared_cloud.home.entered(), shared_cloud.hasty(TIMERS):
        yield shared_cloud


@pytest.fixture
def hasty(hurried: Cloud) -> Iterator[Cloud]:
    """The same, without machines."""
    yield hurried
    hurried.clear()


def notes(stream: services.Stream) -> str:
    """Return what the events of a run say so far."""
    named = ("reason", "text", "message", "next")
    return "\n".join(str(event.get(name, "")) for event in stream.events for name in named)


def attempts(stream: services.Stream) -> int:
    """Return how many attempts the events of a run tell of."""
    return max(int(event.get("attempt", 1)) for event in stream.events)


def since(cloud: Cloud, before: int) -> list[str]:
    """Return the states of the machines launched after so many."""
    return [machine["state"] for machine in cloud.sandbox.machines()[before:]]


def test_a_run_whose_machine_is_killed_is_rerun_on_another_one(
    hasty: Cloud, tmp_path: Path
) -> None:
    before = len(hasty.sandbox.machines())
    stream = hasty.submit(until_second(tmp_path / "runs"), **LONE)
    stream.until(state="running")
    (machine,) = hasty.alive()
    hasty.sandbox.ask("kill", machine=machine["id"])
    over = stream.until(kind="attempt")
    assert over["outcome"] == "lost"
    assert "c5.large" in over["message"]
    assert "not counted as a retry" in over["next"]
    end = stream.until(kind="end")
    assert (end["state"], attempts(stream)) == ("done", 2)
    assert len(since(hasty, before)) == 2
    assert hasty.sandbox.machine(machine["id"])["state"] == "terminated"


def test_a_spot_machine_with_notice_gets_no_more_runs(hasty: Cloud, tmp_path: Path) -> None:
    spot = {**LONE, "cpu": 0.5, "spot": "always"}
    first = hasty.submit(until_second(tmp_path / "runs"), **spot)
    first.until(state="running")
    (machine,) = hasty.alive()
    hasty.sandbox.ask("notice", machine=machine["id"])
    said = "spot machine is being reclaimed, moving: what has not ended in 1"
    assert said in first.until(kind="note")["text"]
    second = hasty.submit("1", **spot)
    assert second.until(kind="end")["state"] == "done"
    assert len(hasty.alive()) == 2
    hasty.sandbox.ask("kill", machine=machine["id"])
    end = first.until(kind="end")
    assert (end["state"], attempts(first)) == ("done", 2)
    assert machine["id"] not in {left["id"] for left in hasty.alive()}


def test_the_end_of_a_machine_is_asked_for_until_it_is_gone(hasty: Cloud) -> None:
    hasty.submit("1", **LONE).until(kind="end")
    (machine,) = hasty.alive()
    asked = len(hasty.sandbox.calls("TerminateInstances"))
    hasty.sandbox.ask("fault", action="TerminateInstances", code="InternalError", count=7)
    services.ask("POST", f"/v1/machines/{machine['id']}/stop", {"force": True})
    wait(lambda: len(hasty.sandbox.calls("TerminateInstances")) >= asked + 4, 30)
    shown = services.ask("GET", "/v1/status").json["machines"]
    assert [found["state"] for found in shown if found["id"] == machine["id"]] == ["ending"]
    hasty.wait_until_empty()
    assert len(hasty.sandbox.calls("TerminateInstances")) >= asked + 8
    wait(lambda: len(services.ask("GET", "/v1/status").json["machines"]) == 1, 30)


def test_a_machine_that_was_ended_behind_the_pools_back_is_forgotten(hasty: Cloud) -> None:
    hasty.submit("1", **LONE).until(kind="end")
    (machine,) = hasty.alive()
    hasty.sandbox.client("ec2").terminate_instances(InstanceIds=[machine["id"]])
    wait(lambda: len(services.ask("GET", "/v1/status").json["machines"]) == 1, 30)
    assert hasty.submit("1", **LONE).until(kind="end")["state"] == "done"
    assert "the look at machines failed" not in hasty.log()


def test_launching_pauses_after_three_machines_that_do_not_boot(stopped: Cloud) -> None:
    before = len(stopped.sandbox.machines())
    stopped.sandbox.ask("boot-fail", count=-1)
    stopped.begin({**TIMERS, "ec2_launch_deadline_s": 2.0})
    stream = stopped.submit("1", **LONE)
    said = []
    for event in stream:
        said.append(str(event.get("reason", "")))
        if "3 machines of ec2 in a row failed to start" in said[-1]:
            break
    why = "it did not join within 2 s (console: the sandbox lets this boot fail)"
    assert f"the last: {why}; again in 1" in said[-1]
    assert any(f"the one before failed to start: {why}" in reason for reason in said)
    stopped.wait_until_empty()
    assert len(since(stopped, before)) == 3, stopped.log()[-6000:]


def test_a_service_that_is_killed_reruns_what_ran_elsewhere(stopped: Cloud, tmp_path: Path) -> None:
    before = len(stopped.sandbox.machines())
    stopped.begin(TIMERS)
    assert stopped.service is not None
    first = stopped.submit(until_second(tmp_path / "runs"), detached=True, **LONE)
    run = first.until(kind="accepted")["id"]
    first.until(state="running")
    services.kill(stopped.service)
    stopped.begin(TIMERS)
    again = services.Stream("GET", f"/v1/runs/{run}/events")
    end = again.until(kind="end")
    assert (end["state"], attempts(again)) == ("done", 2)
    wait(lambda: len(stopped.alive()) <= 1, 30)
    assert len(since(stopped, before)) == 2
    assert "the compute service ended while it ran" in notes(again)


@pytest.mark.parametrize(
    ("death", "orphans"),
    [
        ("jupyter_compute.pool.sweeps Sweeps intend after", 0),
        ("jupyter_compute.layers.ec2 EC2Layer launch after", 1),
    ],
    ids=["before the launch", "before its answer is known"],
)
def test_a_service_that_is_killed_while_it_launches_leaves_no_machine(
    stopped: Cloud, death: str, orphans: int
) -> None:
    before = len(stopped.sandbox.machines())
    (foreign,) = stopped.sandbox.run()
    stopped.begin(TIMERS, death)
    assert stopped.service is not None
    run = stopped.submit("6 * 7", detached=True, **LONE).until(kind="accepted")["id"]
    stopped.service.wait(30)
    assert len(stopped.alive()) == 1 + orphans
    left = [m for m in stopped.alive() if m["id"] != foreign["InstanceId"]]
    for orphan in left:
        # Otherwise it would end by itself, as nobody lets it in.
        stopped.sandbox.wait_for(orphan["id"], "running")
        stopped.sandbox.ask("freeze", machine=orphan["id"])
    stopped.begin(TIMERS)
    assert services.Stream("GET", f"/v1/runs/{run}/events").until(kind="end")["state"] == "done"
    for orphan in left:
        stopped.sandbox.wait_for(orphan["id"], "terminated", 30)
    wait(lambda: len(stopped.alive()) <= 2, 30)
    assert len(since(stopped, before)) == 2 + orphans
    assert stopped.sandbox.machine(foreign["InstanceId"])["state"] == "running"
