"""EC2 instances of the sandbox are real processes, which come and go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandboxes import SCRIPT, Sandbox, wait

pytestmark = pytest.mark.slow


def launch(sandbox: Sandbox, script: str) -> str:
    """Launch an instance, and return its id."""
    (made,) = sandbox.run(UserData=script)
    return made["InstanceId"]


def described(sandbox: Sandbox, *names: str) -> list[dict[str, Any]]:
    """Return what AWS says of the instances."""
    found = sandbox.client("ec2").describe_instances(InstanceIds=list(names))
    return [one for reservation in found["Reservations"] for one in reservation["Instances"]]


def test_user_data_runs_as_a_process_until_the_instance_is_terminated(sandbox):
    name = launch(sandbox, "#!/bin/sh\nsetsid sleep 1000 &\nexec sleep 1001\n")
    pid = sandbox.wait_for(name, "running")["pid"]
    assert Path(f"/proc/{pid}").exists()
    assert described(sandbox, name)[0]["State"]["Name"] == "running"
    sandbox.client("ec2").terminate_instances(InstanceIds=[name])
    sandbox.wait_for(name, "terminated")
    assert not Path(f"/proc/{pid}").exists()
    found = described(sandbox, name)[0]
    assert found["State"]["Name"] == "terminated"
    assert found["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


def test_a_machine_knows_nothing_of_the_user_who_launched_it(sandbox):
    name = launch(
        sandbox, "#!/bin/sh\nenv\nwhich jupyter-compute-node\necho done\nexec sleep 1000\n"
    )
    sandbox.wait_for(name, "running")
    ec2 = sandbox.client("ec2")
    output = wait(lambda: _after("done", ec2.get_console_output(InstanceId=name)["Output"]))
    for secret in (sandbox.state["key"], str(sandbox.home.path / "run"), "AWS_ACCESS", "DASK_"):
        assert secret not in output
    assert "JUPYTER_COMPUTE_SANDBOX=1" in output
    assert "/prepared/jupyter-compute-node" in output


def test_shutdown_inside_the_machine_terminates_it(sandbox):
    name = launch(sandbox, "#!/bin/sh\nshutdown -h now\nexec sleep 1000\n")
    found = sandbox.wait_for(name, "terminated")
    assert found["why"].startswith("Client.InstanceInitiatedShutdown")
    assert described(sandbox, name)[0]["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def _after(mark: str, output: str) -> str | None:
    return output if f"\n{mark}\n" in output else None


def test_cloud_config_runs_its_commands_and_containers_as_processes(sandbox):
    script = """#cloud-config
runcmd:
  - PROGRAM="import os, distributed; print(os.environ['GREETING'], distributed.__name__)"
  - curl -fsSL https://download.docker.com/linux/ubuntu/gpg | apt-key add -
  - docker run -e GREETING=hello --net=host daskdev/dask python -c "$PROGRAM"
  - shutdown -h now
"""
    name = launch(sandbox, script)
    sandbox.wait_for(name, "terminated")
    assert "hello distributed" in Path(sandbox.machine(name)["console"]).read_text()


def test_an_address_comes_back_to_another_machine(sandbox):
    first = sandbox.wait_for(launch(sandbox, SCRIPT), "running")
    sandbox.client("ec2").terminate_instances(InstanceIds=[first["id"]])
    sandbox.wait_for(first["id"], "terminated")
    second = sandbox.machine(launch(sandbox, SCRIPT))
    assert second["address"] == first["address"]
    assert second["id"] != first["id"]


def test_an_instance_that_is_stopped_is_not_terminated(sandbox):
    (made,) = sandbox.run(
        UserData="#!/bin/sh\nshutdown -h now\nexec sleep 1000\n",
        InstanceInitiatedShutdownBehavior="stop",
    )
    name = made["InstanceId"]
    sandbox.wait_for(name, "stopped")
    assert described(sandbox, name)[0]["State"]["Name"] == "stopped"
    sandbox.client("ec2").terminate_instances(InstanceIds=[name])
    sandbox.wait_for(name, "terminated")


def test_terminating_what_is_not_there(sandbox):
    ec2 = sandbox.client("ec2")
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"])
    name = launch(sandbox, SCRIPT)
    for _ in range(2):
        ec2.terminate_instances(InstanceIds=[name])
    sandbox.wait_for(name, "terminated")
    ec2.terminate_instances(InstanceIds=[name])
