"""Launches that go wrong, on the sandbox: what users see, and what there is afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import services
from clouds import Cloud
from sandboxes import wait

pytestmark = pytest.mark.slow

TIMERS = {
    "breaker_s": [4.0],
    "launch_retry_s": 0.3,
    "list_s": 0.5,
    "machine_idle_s": 4.0,
    "stray_s": 3.0,
    "sweep_first_s": 0.5,
    "tick_s": 0.3,
    "unavailable_s": 4.0,
}
"""What takes minutes in a cloud, in seconds."""

SMALL = {"cpu": 2, "instances": ["c5.large"]}
"""What needs a machine for itself, and one of this type, in some zone, spot or not."""

ICE = "InsufficientInstanceCapacity"


@pytest.fixture(scope="module")
def hurried(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a pool that waits for nothing long."""
    with shared_cloud.home.entered(), shared_cloud.hasty(TIMERS):
        yield shared_cloud


@pytest.fixture
def hasty(hurried: Cloud) -> Iterator[Cloud]:
    """The same, without machines and with nothing on its mind."""
    yield hurried
    hurried.clear()
    said = {(c["params"]["ClientToken"], json.dumps(c["params"])) for c in hurried.launches()}
    tokens = [token for token, _ in said]
    assert len(tokens) == len(set(tokens)), "a token is for one request, word for word"


def reasons(stream: services.Stream) -> str:
    """Return all reasons and notes of a run so far."""
    return "\n".join(str(event.get("reason", event.get("text", ""))) for event in stream.events)


def until_reason(stream: services.Stream, *parts: str) -> str:
    """Read on until a reason holds these texts, and return it."""
    for event in stream:
        reason = str(event.get("reason", ""))
        if all(part in reason for part in parts):
            return reason
        assert event["kind"] != "end", f"no reason with {parts} in {reasons(stream)}"
    raise AssertionError(parts)


def done(stream: services.Stream) -> dict[str, Any]:
    """Return the end of a run that succeeds."""
    end = stream.until(kind="end")
    assert end["state"] == "done", end
    return end


def pause_before_next_launch(cloud: Cloud) -> float:
    """Wait for the next attempt to launch, and return how long it came after the last one."""
    tried = len(cloud.launches())
    calls = wait(lambda: cloud.launches() if len(cloud.launches()) > tried else None, 30)
    return float(calls[tried]["time"] - calls[tried - 1]["time"])


def test_an_offer_without_capacity_is_left_alone_and_another_one_taken(hasty: Cloud) -> None:
    since = len(hasty.launches())
    hasty.sandbox.ask("fault", action="RunInstances", code=ICE, match={"type": "c5.large"})
    wanted = {"cpu": 2, "instances": ["c5.large", "m5.large"], "spot": "never"}
    first = hasty.submit("1", **wanted)
    until_reason(first, "starting m5.large", "(c5.large (sandbox) had no capacity)")
    second = hasty.submit("1", **wanted)
    done(first)
    done(second)
    assert {machine["type"] for machine in hasty.alive()} == {"m5.large"}
    types = [call["params"]["InstanceType"] for call in hasty.launches()[since:]]
    assert types[0] == "c5.large"
    assert types.count("m5.large") == len(hasty.alive())


def test_without_capacity_anywhere_a_run_waits_and_says_so(hasty: Cloud) -> None:
    hasty.sandbox.ask("fault", action="RunInstances", code=ICE)
    # Not of the type that another test may have had refused a moment ago.
    stream = hasty.submit("1", spot="never", cpu=2, instances=["m5.large"])
    until_reason(stream, "no capacity for m5.large", "again in")
    assert pause_before_next_launch(hasty) > 3.5
    assert hasty.alive() == []
    hasty.sandbox.ask("clear")
    done(stream)
    assert len(hasty.alive()) == 1


def test_a_quota_that_is_reached_is_named_and_not_asked_about_all_the_time(hasty: Cloud) -> None:
    hasty.sandbox.ask("quota", vcpus=1)
    stream = hasty.submit("1", spot="never", **SMALL)
    until_reason(stream, "the account's quota", "request an increase", "again in")
    assert done(services.submit("2"))
    assert pause_before_next_launch(hasty) > 3.5
    hasty.sandbox.ask("quota", vcpus=None)
    done(stream)


def test_a_launch_whose_answer_is_lost_is_asked_for_again_and_carried_out_once(
    hasty: Cloud,
) -> None:
    before = len(hasty.sandbox.machines())
    since = len(hasty.launches())
    hasty.sandbox.ask("fault", action="RunInstances", drop_reply=True, count=3)
    done(hasty.submit("1", **SMALL))
    calls = hasty.launches()[since:]
    assert sum(1 for call in calls if call.get("dropped")) == 3
    assert len({call["params"]["ClientToken"] for call in calls}) == 1
    assert len(hasty.sandbox.machines()) == before + 1


def test_what_a_launch_did_not_bring_is_launched_elsewhere(hasty: Cloud) -> None:
    before = len(hasty.sandbox.machines())
    since = len(hasty.launches())
    hasty.sandbox.ask("fault", action="RunInstances", partial=1, count=1)
    streams = [hasty.submit("1", **SMALL) for _ in range(2)]
    for stream in streams:
        done(stream)
    said = "1 of 2 machines could be had as c5.large"
    assert any(said in reasons(stream) for stream in streams), [reasons(s) for s in streams]
    assert [call["params"]["MaxCount"] for call in hasty.launches()[since:]] == ["2", "1"]
    assert len(hasty.sandbox.machines()) == before + 2


def test_a_machine_that_is_not_listed_yet_is_not_taken_for_lost(hasty: Cloud) -> None:
    before = len(hasty.sandbox.machines())
    hasty.sandbox.ask("fault", action="Describe*", delay_s=8.0)
    stream = hasty.submit("1", **SMALL)
    done(stream)
    assert len(hasty.sandbox.machines()) == before + 1
    assert "failed to start" not in reasons(stream)


def test_machines_of_others_are_left_alone_and_strays_are_not(hasty: Cloud) -> None:
    done(hasty.submit("1", **SMALL))
    (ours,) = hasty.alive()
    tags = hasty.tags(ours["id"])
    (foreign,) = hasty.sandbox.run(
        TagSpecifications=[spelled({**tags, "jupyter-compute:owner": "0123456789ab"})]
    )
    (bare,) = hasty.sandbox.run(TagSpecifications=[spelled({"Name": "jupyter-compute"})])
    (stray,) = hasty.sandbox.run(
        TagSpecifications=[spelled({**tags, "jupyter-compute:launch": "jc-forgotten"})]
    )
    others = {foreign["InstanceId"], bare["InstanceId"]}
    wait(lambda: {machine["id"] for machine in hasty.alive()} == others, 30)
    assert hasty.sandbox.machine(stray["InstanceId"])["state"] == "terminated"
    named = {
        text
        for call in hasty.sandbox.calls("TerminateInstances")
        for name, text in call["params"].items()
        if name.startswith("InstanceId")
    }
    assert stray["InstanceId"] in named
    assert not others & named
    assert json.dumps(services.ask("GET", "/v1/status").json).count("i-0") == 0
    for name in others:
        hasty.sandbox.ask("kill", machine=name)


def spelled(tags: dict[str, str]) -> dict[str, Any]:
    """Return tags as RunInstances wants them."""
    listed = [{"Key": key, "Value": text} for key, text in tags.items()]
    return {"ResourceType": "instance", "Tags": listed}
