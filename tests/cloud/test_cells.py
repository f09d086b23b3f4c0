"""Cells on machines of AWS, as a user has them, on the sandbox."""

from __future__ import annotations

import base64
import json

import pytest

import services
from clouds import Cloud
from kernels import Kernel, ok
from sandboxes import wait

pytestmark = pytest.mark.slow


def test_a_cell_runs_on_a_machine_of_ec2_that_goes_when_it_is_idle(
    cloud: Cloud, cloud_kernel: Kernel
) -> None:
    ok(cloud_kernel.run("import numpy as np\na = np.arange(3_000_000.0)"))
    reply = ok(
        cloud_kernel.run("%%remote --on ec2 --cpu 8 --memory 32G\nb = a + 1\nprint('out')\nb.sum()")
    )
    assert "out" in reply.stdout
    assert ok(cloud_kernel.run("float((b - a).sum())")).result == "3000000.0"
    (machine,) = cloud.sandbox.machines("running")
    assert machine["cpu"] >= 8
    assert machine["memory_mib"] * 2**20 >= 32 * 10**9
    assert (
        f"{machine['type']}{' spot' if machine['spot'] else ''} (sandbox)" in reply.status_lines[-1]
    )
    assert any("starting" in line and "/h" in line for line in reply.status_lines)
    cloud.wait_until_empty()
    wait(lambda: len(services.ask("GET", "/v1/status").json["machines"]) == 1)


def test_what_a_machine_is_launched_with(cloud: Cloud) -> None:
    cloud.submit("1 + 1").until(kind="end")
    (machine,) = cloud.sandbox.machines("running")
    ec2 = cloud.sandbox.client("ec2")
    found = ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"][0]
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert "KeyName" not in found
    groups = [group["GroupId"] for group in found["SecurityGroups"]]
    for group in ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]:
        assert group["IpPermissions"] == []
    tags = {tag["Key"] for tag in found["Tags"]}
    assert {"jupyter-compute:owner", "jupyter-compute:launch", "Name"} <= tags
    told = ec2.describe_instance_attribute(InstanceId=machine["id"], Attribute="userData")
    script = base64.b64decode(told["UserData"]["Value"]).decode()
    assert "BEGIN CERTIFICATE" in script
    assert "PRIVATE KEY" not in script
    assert cloud.sandbox.environment["AWS_ACCESS_KEY_ID"] not in script


def test_runs_share_a_machine(cloud: Cloud) -> None:
    code = "import time\nprint('up', flush=True)\ntime.sleep(3)"
    streams = [cloud.submit(code, cpu=0.5) for _ in range(4)]
    for stream in streams:
        assert stream.until(kind="end")["state"] == "done"
    assert len(cloud.alive()) == 1


def test_a_cell_runs_on_fargate(cloud: Cloud, cloud_kernel: Kernel) -> None:
    reply = ok(cloud_kernel.run("%%remote --on fargate --cpu 0.5 --memory 1G\n'here'"))
    assert reply.result == "'here'"
    (machine,) = cloud.sandbox.machines("running")
    assert machine["kind"] != "ec2"
    assert machine["cpu"] == 0.5


def test_the_items_of_a_map_are_worked_on_side_by_side(cloud: Cloud, cloud_kernel: Kernel) -> None:
    code = """
import os, time
from jupyter_compute import remote

@remote(on="aws", cpu=2, memory="2G")
def work(number):
    time.sleep(3)
    return os.getpid()

pids = list(work.map(range(6)))
len(set(pids))
"""
    assert int(ok(cloud_kernel.run(code)).result) > 1
    assert sum(machine["cpu"] for machine in cloud.alive()) >= 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--on fargate --cpu 32", "fargate has no machine that large"),
        (
            "--on ec2 --instance c5.large,m5.larg",
            "ec2 has no 'm5.larg' here; did you mean m5.large",
        ),
        ("--on fargate --instance m5.large", "fargate has no 'm5.large' here"),
        ("--on ec2 --gpu Z9000", "--gpu: ec2 has no 'Z9000' here; it has A"),
        ("--on fargate --gpu L4", "fargate has no such GPU"),
        ("--on ec2 --gpu 64", "'64' is more than any known machine has"),
        ("--on ec2 --max-cost 0", "nothing that ec2 offers is free; --on local costs nothing"),
    ],
)
def test_an_ask_that_nothing_can_satisfy_launches_nothing(
    cloud: Cloud, cloud_kernel: Kernel, line: str, said: str
) -> None:
    reply = cloud_kernel.run(f"%%remote {line}\n1")
    assert reply.stderr.startswith("UsageError: ")
    assert said in reply.stderr
    assert cloud.alive() == []
    if line.endswith("Z9000"):
        planned = ok(cloud_kernel.run("%%remote --on ec2 --gpu l4 --plan\n1")).stdout
        assert "would run on g6" in planned


def test_the_pool_uses_the_sandbox_only_while_it_is_on(cloud: Cloud, cloud_kernel: Kernel) -> None:
    assert cloud.sandbox.state["endpoint"] in cloud_kernel.run("%compute sandbox").stdout
    ok(cloud_kernel.run("%compute sandbox off"))
    refused = cloud_kernel.run("%%remote --on ec2\n1")
    assert "no AWS region is configured" in refused.stderr + refused.evalue
    assert ok(cloud_kernel.run("%%remote --on sandbox --cpu 1 --memory 1G\n6 * 7")).result == "42"


def test_what_is_rehearsed_is_no_cost(cloud: Cloud, cloud_kernel: Kernel) -> None:
    ok(cloud_kernel.run("%%remote --on ec2 --cpu 2 --memory 4G\nimport time\ntime.sleep(2)"))
    status = services.ask("GET", "/v1/status").json
    assert any(m["usd_per_hour"] > 0 for m in status["machines"])
    assert (status["usd_per_hour"], status["today_usd"]) == (0, 0)
    shown = ok(cloud_kernel.run("%compute cost")).stdout
    assert "in the sandbox besides:" in shown
    assert "nothing of it to pay" in shown


def test_an_environment_that_leads_elsewhere_is_refused(cloud: Cloud) -> None:
    for endpoint in ("http://192.0.2.1:80", "https://ec2.amazonaws.com", ""):
        changed = cloud.sandbox.environment | {"AWS_ENDPOINT_URL": endpoint}
        answer = services.ask("POST", "/v1/sandbox", {"environment": changed})
        assert answer.status == 400
        assert "is not an address of this computer" in json.dumps(answer.json)
