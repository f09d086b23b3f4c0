"""``jupyter compute gc`` ends machines of ours that no pool knows, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import services
from clouds import Cloud
from jupyter_compute import places
from jupyter_compute.layers.aws import OWNER_TAG, installation, tags
from sandboxes import SCRIPT

pytestmark = pytest.mark.slow


def _gc(cloud: Cloud, *options: str, status: int = 0) -> Any:
    command = [sys.executable, "-m", "jupyter_compute", "gc", "--json", *options]
    env = {**cloud.home.env, **cloud.sandbox.environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
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


def test_one_that_cannot_be_ended_does_not_keep_the_others(cloud: Cloud) -> None:
    cloud.stop()
    for number in range(2):
        _launch(cloud, tags(installation(), f"jc-earlier-{number}"))
    refused = "UnauthorizedOperation"
    cloud.sandbox.ask("fault", action="TerminateInstances", code=refused, count=1)
    found = _gc(cloud, status=1)
    (left,) = [machine["id"] for machine in cloud.alive()]
    assert [*found["failed"]] == [left]
    assert "TerminateInstances" in found["failed"][left]
    assert len(found["machines"]) == 1
    assert [one["id"] for one in _gc(cloud)["machines"]] == [left]
    assert cloud.alive() == []
    cloud.start()


def test_machines_of_the_running_pool_stay(cloud: Cloud) -> None:
    cloud.submit("1").until(kind="end")
    assert len(cloud.alive()) == 1
    assert _gc(cloud) == {"machines": [], "unasked": {}, "failed": {}}
    assert len(cloud.alive()) == 1


def test_a_vm_that_dask_cloudprovider_has_started_is_found_and_ended(with_vms: Cloud) -> None:
    cloud = with_vms
    stream = cloud.submit("import time; time.sleep(1000)", layer="dcp", detached=True)
    stream.until(state="running")
    (ours,) = [machine["id"] for machine in cloud.machines() if machine["layer"] == "dcp"]
    (vm,) = cloud.alive()
    assert _gc(cloud)["machines"] == [], "it is of a pool that runs"
    # Otherwise it would end by itself, as soon as its pool is gone.
    cloud.sandbox.ask("freeze", machine=vm["id"])
    assert cloud.service is not None
    services.hang_up()
    services.kill(cloud.service)
    cloud.service = None
    (plain,) = cloud.sandbox.run()
    found = [{"id": ours, "layer": "dcp", "type": "m5.large"}]
    assert _gc(cloud, "--dry-run")["machines"] == found
    assert [path.stem for path in _records()] == [ours]
    assert _gc(cloud)["machines"] == found
    assert [machine["id"] for machine in cloud.alive()] == [plain["InstanceId"]]
    assert _records() == []
    assert _gc(cloud) == {"machines": [], "unasked": {}, "failed": {}}
    cloud.begin({})  # it clears away what the one that was killed has left


def _records() -> list[Any]:
    return sorted((places.data_dir() / "machines" / "dcp").glob("*.json"))
