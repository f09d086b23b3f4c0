"""Layers of dask-cloudprovider for tests."""

from __future__ import annotations

from typing import Any

from sandboxes import Sandbox


def on_sandbox(sandbox: Sandbox) -> dict[str, Any]:
    """Return the configuration of a layer whose machines dask-cloudprovider starts on EC2."""
    groups = sandbox.client("ec2").describe_security_groups(GroupNames=["jupyter-compute"])
    return {
        "cloudprovider": "dask_cloudprovider.aws.EC2Cluster",
        "options": {
            "ami": sandbox.environment["DASK_JUPYTER_COMPUTE__LAYERS__EC2__AMI"],
            "region": "us-east-1",
            "security_groups": [group["GroupId"] for group in groups["SecurityGroups"]],
        },
        "prepared": True,
        "region": "us-east-1",
        "types": {
            "m5.large": {"cpu": 2, "memory": "6GiB", "usd-per-hour": 0.1, "priced": "2026-11-01"},
            "c5.large": {"cpu": 2, "memory": "3GiB"},
        },
    }


def instance(sandbox: Sandbox, name: str) -> str:
    """Return the id of the instance that has this name."""
    filters = [{"Name": "tag:Name", "Values": [name]}]
    found = sandbox.client("ec2").describe_instances(Filters=filters)["Reservations"]
    return str(found[0]["Instances"][0]["InstanceId"])
