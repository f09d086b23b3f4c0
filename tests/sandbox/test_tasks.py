"""Fargate tasks of the sandbox are real processes, which come and go with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandboxes import Sandbox, wait

pytestmark = pytest.mark.slow


class Fargate:
    """A cluster with a task definition.

    Parameters
    ----------
    sandbox : Sandbox
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ecs = sandbox.client("ecs")
        self.ecs.create_cluster(clusterName="jc", capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.ecs.register_task_definition(
            family="jc",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[
                {
                    "name": "node",
                    "image": "jupyter-compute-sandbox",
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {
                            "awslogs-group": "/jc",
                            "awslogs-region": "us-east-1",
                            "awslogs-stream-prefix": "jc",
                        },
                    },
                }
            ],
        )
        subnets = sandbox.client("ec2").describe_subnets()["Subnets"]
        self.subnet = subnets[0]["SubnetId"]

    def run(self, script: str, **more: Any) -> dict[str, Any]:
        """Run a task, and return the answer."""
        override = {"name": "node", "command": ["/bin/sh", "-c", script]}
        network = {"subnets": [self.subnet], "securityGroups": [], "assignPublicIp": "ENABLED"}
        asked = {
            "cluster": "jc",
            "taskDefinition": "jc",
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}],
            "networkConfiguration": {"awsvpcConfiguration": network},
            "overrides": {"cpu": "512", "memory": "1024", "containerOverrides": [override]},
            **more,
        }
        return self.ecs.run_task(**asked)

    def start(self, script: str, **more: Any) -> str:
        """Run a task, and return its id."""
        return self.run(script, **more)["tasks"][0]["taskArn"].rpartition("/")[2]

    def described(self, name: str) -> dict[str, Any]:
        """Return what AWS says of the task."""
        (found,) = self.ecs.describe_tasks(cluster="jc", tasks=[name], include=["TAGS"])["tasks"]
        return found


@pytest.fixture
def fargate(sandbox: Sandbox) -> Iterator[Fargate]:
    """A cluster in the shared sandbox."""
    return Fargate(sandbox)


def test_a_task_runs_its_command_until_it_is_stopped(sandbox, fargate):
    name = fargate.start("exec sleep 1000", tags=[{"key": "jupyter-compute:owner", "value": "me"}])
    sandbox.wait_for(name, "running")
    found = fargate.described(name)
    assert (found["lastStatus"], found["cpu"], found["memory"]) == ("RUNNING", "512", "1024")
    assert found["tags"] == [{"key": "jupyter-compute:owner", "value": "me"}]
    assert fargate.described(name)["lastStatus"] == "RUNNING"
    fargate.ecs.stop_task(cluster="jc", task=name, reason="not needed")
    sandbox.wait_for(name, "terminated")
    found = fargate.described(name)
    assert (found["lastStatus"], found["stoppedReason"]) == ("STOPPED", "not needed")
    assert fargate.ecs.list_tasks(cluster="jc")["taskArns"] == []


def test_a_task_ends_with_its_command_and_tells_the_exit_code(sandbox, fargate):
    name = fargate.start("exit 7")
    sandbox.wait_for(name, "terminated")
    found = fargate.described(name)
    assert found["stopCode"] == "EssentialContainerExited"
    assert found["containers"][0]["exitCode"] == 7


def test_a_task_learns_its_id_from_its_metadata(sandbox, fargate):
    script = (
        "python3 -c 'import os, urllib.request as u;"
        'print(u.urlopen(os.environ["ECS_CONTAINER_METADATA_URI_V4"] + "/task").read().decode())'
        "'"
    )
    name = fargate.start(script)
    wait(lambda: sandbox.machine(name)["state"] == "terminated")
    assert f"task/jc/{name}" in Path(sandbox.machine(name)["console"]).read_text()


@pytest.mark.parametrize(("cpu", "memory"), [("512", "512"), ("300", "1024"), ("256", "4096")])
def test_only_the_combinations_that_fargate_has(fargate, cpu, memory):
    with pytest.raises(ClientError, match="No Fargate configuration exists"):
        fargate.run("true", overrides={"cpu": cpu, "memory": memory})


def test_a_task_that_nobody_knows_is_missing(fargate):
    found = fargate.ecs.describe_tasks(cluster="jc", tasks=["0" * 32])
    assert found["failures"][0]["reason"] == "MISSING"
    with pytest.raises(ClientError, match="not found"):
        fargate.ecs.stop_task(cluster="jc", task="0" * 32)


def test_the_same_token_is_the_same_task(sandbox, fargate):
    first = fargate.start("exec sleep 1000", clientToken="once")
    assert fargate.start("exec sleep 1000", clientToken="once") == first
    assert len(sandbox.machines("pending", "running")) == 1
    with pytest.raises(ClientError, match="ConflictException"):
        fargate.run("exec sleep 1001", clientToken="once")


def test_no_capacity_is_a_failure_of_the_answer(sandbox, fargate):
    sandbox.ask("fault", action="RunTask", code="InsufficientCapacity", match={"lifecycle": "spot"})
    spot = [{"capacityProvider": "FARGATE_SPOT"}]
    answer = fargate.run("true", capacityProviderStrategy=spot)
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"].startswith("Capacity is unavailable")
    assert len(fargate.run("exec sleep 1000")["tasks"]) == 1


def test_what_a_task_prints_is_in_its_log(sandbox, fargate):
    logs = sandbox.client("logs")
    logs.create_log_group(logGroupName="/jc")
    name = fargate.start("echo one; echo two; exec sleep 1000")
    sandbox.wait_for(name, "running")

    def printed():
        found = logs.get_log_events(logGroupName="/jc", logStreamName=f"jc/node/{name}")
        return [event["message"] for event in found["events"]]

    wait(lambda: printed() == ["one", "two"])


def test_a_spot_task_is_told_and_then_taken_away(sandbox, fargate):
    script = "trap 'echo told; exec sleep 1000' TERM; echo ready; while :; do sleep 0.05; done"
    spot = [{"capacityProvider": "FARGATE_SPOT"}]
    name = fargate.start(script, capacityProviderStrategy=spot)
    console = Path(sandbox.wait_for(name, "running")["console"])
    wait(lambda: "ready" in console.read_text())
    sandbox.ask("notice", machine=name)
    wait(lambda: "told" in console.read_text())
    assert fargate.described(name)["lastStatus"] == "RUNNING"
    sandbox.wait_for(name, "terminated")
    found = fargate.described(name)
    assert (found["stopCode"], found["capacityProviderName"]) == (
        "SpotInterruption",
        "FARGATE_SPOT",
    )
