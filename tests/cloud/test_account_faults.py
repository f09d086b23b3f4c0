"""What is wrong with an account while a pool uses it: said by name, and not asked again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from clouds import LONE, Cloud
from kernels import Kernel, ok

pytestmark = pytest.mark.slow

TIMERS = {
    "list_s": 0.5,
    "sweep_first_s": 0.5,
    "throttle_first_s": 1.0,
    "tick_s": 0.3,
    "unavailable_s": 2.0,
}

TRIES = 2
"""So often boto3 makes a launch that is refused."""


@pytest.fixture(scope="module")
def hurried(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a pool that waits for nothing long."""
    with shared_cloud.home.entered(), shared_cloud.hasty(TIMERS):
        yield shared_cloud


@pytest.fixture
def hasty(hurried: Cloud) -> Iterator[Cloud]:
    """The same, without machines."""
    yield hurried
    hurried.sandbox.ask("clear")
    hurried.clear()


def failed(stream: services.Stream) -> str:
    """Return why a run has failed."""
    end = stream.until(kind="end")
    assert end["state"] == "failed", end
    return str(end["envelope"]["message"])


def done_by(stream: services.Stream) -> dict[str, Any]:
    """Return the receipt of a run that succeeds."""
    end = stream.until(kind="end")
    assert end["state"] == "done", end
    receipt: dict[str, Any] = end["receipt"]
    return receipt


def test_when_credentials_expire_what_runs_goes_on_and_others_are_told(
    hasty: Cloud, tmp_path: Path
) -> None:
    go_on = tmp_path / "go"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.1)"
    running = hasty.submit(code, **LONE)
    running.until(state="running")
    (machine,) = hasty.alive()
    for action in ("RunInstances", "Describe*", "TerminateInstances"):
        hasty.sandbox.ask("fault", action=action, code="ExpiredToken")
    before = len(hasty.launches())
    why = failed(hasty.submit("1", **LONE))
    assert "the AWS credentials of profile 'default' have expired" in why
    assert "run `aws sso login`; what runs already goes on" in why
    assert len(hasty.launches()) - before <= TRIES
    go_on.touch()
    assert done_by(running)["attempts"] == 1
    assert [found["id"] for found in hasty.alive()] == [machine["id"]]
    hasty.sandbox.ask("clear")
    done_by(hasty.submit("1", **LONE))


def test_a_permission_that_is_missing_is_named_and_other_layers_work(hasty: Cloud) -> None:
    hasty.sandbox.ask("fault", action="RunInstances", code="UnauthorizedOperation")
    before = len(hasty.launches())
    why = failed(hasty.submit("1", **LONE))
    assert "profile 'default' may not ec2:RunInstances in us-east-1" in why
    assert "docs/aws.md" in why
    assert len(hasty.launches()) - before <= TRIES
    done_by(services.submit("1"))
    fargate = {"layer": "fargate", "cpu": 0.5, "spot": "never"}
    done_by(hasty.submit("1", **fargate))


def test_a_throttled_launch_is_asked_for_less_and_less_often(hasty: Cloud) -> None:
    before = len(hasty.launches())
    hasty.sandbox.ask("fault", action="RunInstances", code="RequestLimitExceeded", count=8)
    stream = hasty.submit("1", **LONE)
    done_by(stream)
    said = " ".join(str(event.get("reason", "")) for event in stream.events)
    assert "AWS is throttling ec2:RunInstances in us-east-1, trying again later" in said
    times = [call["time"] for call in hasty.launches()[before:]]
    assert len(times) == 8 + 1
    # Each second call is boto3's own, a moment after the first.
    pauses = [later - earlier for earlier, later in zip(times[:-2:2], times[2::2], strict=True)]
    assert pauses[-1] > pauses[0]
    assert len(hasty.alive()) == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"AWS_DEFAULT_REGION": "eu-centrall-1"}, "did you mean eu-central-1"),
        ({"AWS_ACCESS_KEY_ID": ""}, "no AWS credentials found for profile 'default'"),
        ({"AWS_PROFILE": "work"}, "there is no AWS profile 'work'"),
    ],
    ids=["region", "credentials", "profile"],
)
def test_what_is_configured_wrong_is_named_before_anything_is_launched(
    hasty: Cloud, setting: dict[str, str], said: str
) -> None:
    hasty.stop()
    before = len(hasty.launches())
    environment = hasty.sandbox.environment
    if "AWS_DEFAULT_REGION" in setting:
        # Nobody answers there.
        setting = {**setting, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    hasty.sandbox.environment = {k: v for k, v in {**environment, **setting}.items() if v}
    try:
        hasty.begin(TIMERS)
        kernel = Kernel(hasty.home)
        ok(kernel.run("%load_ext jupyter_compute"))
        reply = kernel.run("%%remote --on ec2 --cpu 2\n1")
        assert said in reply.stderr + reply.evalue
        assert ok(kernel.run("%%remote\n6 * 7")).result == "42"
        kernel.close()
        assert len(hasty.launches()) == before
    finally:
        hasty.stop()
        hasty.sandbox.environment = environment
        hasty.begin(TIMERS)
