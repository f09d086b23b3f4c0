"""``jupyter compute gc`` ends machines of ours that no pool knows, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from clouds import Cloud
from jupyter_compute.layers.aws import OWNER_TAG, installation, tags
from sandboxes import SCRIPT

pytestmark = pytest.mark.slow


def _gc(cloud: Cloud, *options: str) -> Any:
    command = [sys.executable, "-m", "jupyter_compute", "gc", "--json", *options]
    env = {**cloud.home.env, **cloud.sandbox.environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def _launch(cloud: Cloud, marks: dict[str, str]) -> str:
    spec = {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in marks.items()]}
    made = cloud.sandbox.client("ec2").run_instances(
        ImageId=cloud.sandbox.environment["DASK_JUPYTER_COMPUTE__LAYERS__EC2__AMI"],
        InstanceType="m5.large",
        MinCount=1,
        MaxCount=1,
        UserData=SCRIPT,
        TagSpecifications=[spec],
    )
    return str(made["Instances"][0]["InstanceId"])


def test_what_nobody_knows_is_found_and_ended(cloud: Cloud) -> None:
    cloud.stop()
    ours = _launch(cloud, tags(installation(), "jc-earlier"))
    others = _launch(cloud, tags("somebody-else", "jc-earlier"))
    plain = _launch(cloud, {"Name": "jupyter-compute", "Owner": OWNER_TAG})
    assert [one["id"] for one in _gc(cloud, "--dry-run")["machines"]] == [ours]
    assert len(cloud.alive()) == 3
    assert [one["id"] for one in _gc(cloud)["machines"]] == [ours]
    assert {machine["id"] for machine in cloud.alive()} == {others, plain}
    assert _gc(cloud)["machines"] == []
    cloud.sandbox.reset()
    cloud.start()


def test_machines_of_the_running_pool_stay(cloud: Cloud) -> None:
    cloud.submit("1").until(kind="end")
    assert len(cloud.alive()) == 1
    assert _gc(cloud) == {"machines": [], "unasked": {}}
    assert len(cloud.alive()) == 1
