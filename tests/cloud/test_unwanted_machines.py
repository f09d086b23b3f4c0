"""Machines that should not have been started, or not so many, or are in the way of others."""

from __future__ import annotations

from pathlib import Path

import pytest

import services
from clouds import LONE, Cloud
from sandboxes import wait

pytestmark = pytest.mark.slow

TIMERS = {
    "breaker_s": [60.0],
    "list_s": 0.5,
    "machine_idle_s": 300.0,
    "sweep_first_s": 0.5,
    "tick_s": 0.3,
}


def until_reason(stream: services.Stream, *parts: str) -> str:
    """Read on until a reason holds these texts, and return it."""
    for event in stream:
        reason = str(event.get("reason", ""))
        if all(part in reason for part in parts):
            return reason
        assert event["kind"] != "end", event
    raise AssertionError(parts)


def test_a_burst_on_an_image_that_does_not_boot_costs_three_machines(stopped: Cloud) -> None:
    before = len(stopped.sandbox.machines())
    stopped.sandbox.ask("boot-fail", count=-1)
    stopped.begin({**TIMERS, "ec2_launch_deadline_s": 3.0})
    streams = [stopped.submit("1", **LONE) for _ in range(8)]
    until_reason(streams[-1], "ec2 starts 3 machines at a time until one has joined")
    until_reason(streams[-1], "3 machines of ec2 in a row failed to start")
    stopped.wait_until_empty()
    assert len(stopped.sandbox.machines()) == before + 3


def test_one_that_starts_for_a_cancelled_run_ends_at_once(stopped: Cloud) -> None:
    stopped.begin(TIMERS)
    stream = stopped.submit("1", **LONE)
    run = stream.until(kind="accepted")["id"]
    machine = wait(lambda: [m for m in stopped.sandbox.machines("running") if m["pid"]], 30)[0]
    stopped.sandbox.ask("freeze", machine=machine["id"])
    until_reason(stream, "starting c5.large (sandbox)")
    services.ask("POST", f"/v1/runs/{run}/cancel", {"action": "kill"})
    # It is far from idle, or late: it has not even joined.
    stopped.wait_until_empty()
    assert stopped.sandbox.machine(machine["id"])["why"].startswith("Client.UserInitiated")


def test_a_small_machine_makes_way_for_a_large_one_where_only_one_may_be(
    stopped: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_JUPYTER_COMPUTE__MAX_MACHINES", "1")
    monkeypatch.setenv("DASK_JUPYTER_COMPUTE__MACHINE_IDLE_TIMEOUT", "1h")
    stopped.begin(TIMERS)
    done = tmp_path / "done"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)"
    small = stopped.submit(code, **LONE)
    small.until(state="running")
    large = stopped.submit("1", cpu=8, instances=["c5.2xlarge"], spot="never")
    until_reason(large, "max-machines is 1, and there are 1")
    assert [machine["type"] for machine in stopped.alive()] == ["c5.large"]
    done.touch()
    assert small.until(kind="end")["state"] == "done"
    assert large.until(kind="end")["state"] == "done"
    wait(lambda: [machine["type"] for machine in stopped.alive()] == ["c5.2xlarge"], 30)


def test_the_successor_of_a_service_that_died_uses_the_same_sandbox(stopped: Cloud) -> None:
    stopped.start()
    assert stopped.service is not None
    run = stopped.submit("6 * 7", detached=True, **LONE).until(kind="accepted")["id"]
    services.kill(stopped.service)
    stopped.service = services.start()
    used = services.ask("GET", "/v1/sandbox").json["endpoint"]
    assert used == stopped.sandbox.state["endpoint"]
    assert services.Stream("GET", f"/v1/runs/{run}/events").until(kind="end")["state"] == "done"
    stopped.stop()
    stopped.service = services.start()
    assert services.ask("GET", "/v1/sandbox").json["endpoint"] == "", "one that was told to end"
