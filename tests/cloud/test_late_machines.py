"""Machines and services that come back late, when others believe that they are gone."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

import services
from clouds import LONE, Cloud, until_second
from sandboxes import wait

pytestmark = pytest.mark.slow

TIMERS = {
    "breaker_s": [60.0],
    "list_s": 0.5,
    "stray_s": 3.0,
    "sweep_first_s": 0.5,
    "tick_s": 0.3,
}


def elsewhere(cloud: Cloud) -> list[str]:
    """Return the ids of the pool's machines that are not this computer."""
    return [machine["id"] for machine in cloud.machines() if machine["layer"] != "local"]


def test_one_that_joins_after_its_replacement_ends_and_is_not_lost_track_of(
    stopped: Cloud,
) -> None:
    before = len(stopped.sandbox.machines())
    stopped.begin({**TIMERS, "ec2_launch_deadline_s": 6.0})
    stream = stopped.submit("6 * 7", **LONE)
    late = wait(lambda: [m for m in stopped.sandbox.machines("running") if m["pid"]], 30)[0]["id"]
    stopped.sandbox.ask("freeze", machine=late)
    # It cannot be ended either, for as long as that takes.
    stopped.sandbox.ask("fault", action="TerminateInstances", code="InternalError")
    assert stream.until(kind="end")["state"] == "done"
    (used,) = {machine["id"] for machine in stopped.alive()} - {late}
    assert set(elsewhere(stopped)) == {late, used}, "it is still being ended"
    stopped.sandbox.ask("thaw", machine=late)
    wait(lambda: [machine["id"] for machine in stopped.alive()] == [used], 60)
    wait(lambda: elsewhere(stopped) == [used], 30)
    assert len(stopped.sandbox.machines()) == before + 2
    stopped.sandbox.ask("clear")


def test_a_machine_at_the_address_of_one_that_is_gone_is_another_machine(
    stopped: Cloud, tmp_path: Path
) -> None:
    stopped.begin(TIMERS)
    stream = stopped.submit(until_second(tmp_path / "runs"), **LONE)
    stream.until(state="running")
    (first,) = stopped.alive()
    # The pool goes on believing that it has to be ended.
    stopped.sandbox.ask("fault", action="TerminateInstances", code="InternalError")
    stopped.sandbox.ask("fault", action="DescribeInstances", code="InternalError", count=6)
    stopped.sandbox.ask("kill", machine=first["id"])
    end = stream.until(kind="end")
    assert (end["state"], end["receipt"]["attempts"]) == ("done", 2)
    (second,) = stopped.alive()
    assert second["address"] == first["address"]
    assert second["id"] != first["id"]
    stopped.sandbox.ask("clear")
    wait(lambda: elsewhere(stopped) == [second["id"]], 30)
    assert stopped.submit("1", **LONE).until(kind="end")["state"] == "done"
    assert [machine["id"] for machine in stopped.alive()] == [second["id"]]


def test_one_that_is_frozen_is_replaced_and_nothing_is_taken_from_it_when_it_wakes(
    stopped: Cloud, tmp_path: Path
) -> None:
    stopped.begin({**TIMERS, "lost_machine_s": 3.0})
    stream = stopped.submit(until_second(tmp_path / "runs") + "path.read_text()", **LONE)
    stream.until(state="running")
    (frozen,) = stopped.alive()
    stopped.sandbox.ask("freeze", machine=frozen["id"])
    stopped.sandbox.ask("fault", action="TerminateInstances", code="InternalError")
    over = stream.until(kind="attempt")
    assert (over["outcome"], over["n"]) == ("lost", 1)
    assert over["message"].startswith("machine lost after ")
    end = stream.until(kind="end")
    assert (end["state"], end["receipt"]["attempts"]) == ("done", 2)
    stopped.sandbox.ask("thaw", machine=frozen["id"])
    stopped.sandbox.wait_for(frozen["id"], "terminated", 60)
    assert len([event for event in stream.events if event["kind"] == "end"]) == 1
    stopped.sandbox.ask("clear")
    wait(lambda: frozen["id"] not in elsewhere(stopped), 30)


def test_machines_end_by_themselves_while_the_computer_sleeps(
    stopped: Cloud, tmp_path: Path
) -> None:
    stopped.begin({**TIMERS, "lease_renew_s": 0.5, "lease_s": 4.0})
    assert stopped.service is not None
    stream = stopped.submit(until_second(tmp_path / "runs"), **LONE)
    stream.until(state="running")
    (machine,) = stopped.alive()
    for _ in range(3):  # by then it has the lease that this pool gives
        stream.until(kind="sample")
    asleep = [psutil.Process(stopped.service.pid)]
    asleep += asleep[0].children(recursive=True)
    for process in asleep:
        process.send_signal(signal.SIGSTOP)
    try:
        found = stopped.sandbox.wait_for(machine["id"], "terminated", 60)
    finally:
        for process in asleep:
            process.send_signal(signal.SIGCONT)
    assert found["why"].startswith("Client.InstanceInitiatedShutdown")
    over = stream.until(kind="attempt")
    assert over["outcome"] == "lost"
    assert over["message"].startswith("machine lost after ")
    end = stream.until(kind="end")
    assert (end["state"], end["receipt"]["attempts"]) == ("done", 2)
    said = [event["text"] for event in stream.events if event["kind"] == "note"]
    assert any("it shut itself down" in text for text in said), said
    assert services.ask("GET", "/v1/status").json["runs"] == []
