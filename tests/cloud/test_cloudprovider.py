"""A layer of dask-cloudprovider: its class for EC2, on the sandbox, under our pool."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from clouds import Cloud
from jupyter_compute import places
from kernels import Kernel, ok
from sandboxes import wait

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(with_vms: Cloud) -> Iterator[Kernel]:
    """A kernel with a pool that has a layer `dcp`."""
    own = Kernel(with_vms.home)
    ok(own.run("%load_ext jupyter_compute"))
    yield own
    own.close()


def test_a_cell_runs_on_a_machine_that_dask_cloudprovider_has_started(
    shared_cloud: Cloud, kernel: Kernel
) -> None:
    cloud = shared_cloud
    reply = ok(kernel.run("%%remote --on dcp --cpu 2 --memory 5G\nb = 6 * 7\nprint('out')\nb"))
    assert (reply.result, "out" in reply.stdout) == ("42", True)
    assert "m5.large (sandbox)" in reply.status_lines[-1]
    (machine,) = cloud.sandbox.machines("running")
    (ours,) = [one for one in cloud.machines() if one["layer"] == "dcp"]
    assert cloud.tags(machine["id"])["Name"] == ours["id"]
    told = cloud.sandbox.client("ec2").describe_instance_attribute(
        InstanceId=machine["id"], Attribute="userData"
    )
    script = base64.b64decode(told["UserData"]["Value"]).decode()
    assert "PRIVATE KEY" not in script
    assert "dask" not in script.lower()
    assert cloud.sandbox.environment["AWS_ACCESS_KEY_ID"] not in script
    large = kernel.run("big = bytes(range(256)) * 4096\n").status
    assert large == "ok"
    refused = kernel.run("%%remote --on dcp --cpu 2 --memory 5G\nlen(big)")
    assert "need a bucket on their way to and from dcp: set layers.aws.bucket" in refused.evalue
    cloud.wait_until_empty()
    wait(lambda: not list((places.data_dir() / "machines" / "dcp").iterdir()))
    shown = ok(kernel.run("%compute layers --cpu 2 --memory 2G")).stdout
    assert "fits c5.large" in shown or "fits m5.large" in shown
