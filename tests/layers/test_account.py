"""Who asks, where, and with which settings: what goes wrong before AWS is asked, or instead."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.config
import pytest

from homes import Home
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.aws import Account, installation
from jupyter_compute.layers.base import Boot, Launch
from jupyter_compute.layers.ec2 import EC2Layer
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.model import Offer
from sandboxes import Sandbox

pytestmark = pytest.mark.slow

OFFER = Offer("ec2", "m5.large", 2, 2**30)
CONFIG = "[profile mine]\nregion = eu-west-1\n"
SSO = """
[profile sso]
region = eu-west-1
sso_start_url = https://127.0.0.1/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = mine
"""


@pytest.fixture
def bare(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user without any AWS configuration; the file is the one that they might have."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (home.path / ".aws").mkdir()
    return home.path / ".aws/config"


def why_not() -> str:
    began = time.monotonic()
    why = EC2Layer(Account(), lambda: [OFFER]).why_not()
    assert time.monotonic() - began < 10
    return why


class TestWhatIsWrong:
    def test_no_region(self, bare):
        assert why_not() == (
            "no AWS region is configured; set layers.aws.region or AWS_DEFAULT_REGION"
        )

    def test_no_credentials(self, bare, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert why_not() == (
            "no AWS credentials found for profile 'default' (run `aws configure` or "
            "`aws sso login`; `--on local` needs none)"
        )

    def test_no_such_profile(self, bare):
        bare.write_text(CONFIG)
        with dask.config.set({"jupyter-compute.layers.aws.profile": "yours"}):
            assert why_not().startswith("there is no AWS profile 'yours'")

    def test_half_of_the_credentials(self, bare, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
        assert "login of profile 'default' cannot be used: Partial credentials" in why_not()

    def test_a_configuration_that_cannot_be_read(self, bare):
        bare.write_text("[profile mine\nregion")
        assert "cannot be used: Unable to parse config file" in why_not()

    def test_nobody_is_logged_in(self, bare, monkeypatch):
        bare.write_text(SSO)
        monkeypatch.setenv("AWS_PROFILE", "sso")
        why = why_not()
        assert "login of profile 'sso' cannot be used" in why
        assert "run `aws sso login --profile sso`" in why

    def test_a_region_that_there_is_not(self, bare, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-wset-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
        why = why_not()
        assert "no answer from AWS (ec2:DescribeVpcs in eu-wset-1)" in why
        assert "'eu-wset-1' is no known region, did you mean eu-west-1?" in why
        assert "canary" not in why

    def test_what_is_no_region_at_all(self, bare, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu west")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        assert why_not().startswith("'eu west' is no region")

    def test_an_endpoint_that_takes_the_call_and_says_nothing(self, bare, monkeypatch):
        monkeypatch.setattr("jupyter_compute.layers.aws._READ_S", 0.1)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
            layer = EC2Layer(Account(), lambda: [OFFER])
            for call in (layer.list, lambda: layer.terminate("i-0123456789abcdef0")):
                with pytest.raises(PoolError, match="no answer from AWS"):
                    call()


class TestOnTheSandbox:
    def launch(self, layer: EC2Layer) -> Any:
        boot = Boot("https://127.0.0.1:1", "x", "x")
        return layer.launch(Launch(f"a{time.time_ns()}", (OFFER,), 1, boot))

    def test_a_group_that_lets_in_the_world_is_refused(self, sandbox: Sandbox):
        ec2 = sandbox.client("ec2")
        for rule in (
            {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
            {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        ):
            name = f"open-{time.time_ns()}"
            made = ec2.create_security_group(GroupName=name, Description="x")["GroupId"]
            inward = {"IpProtocol": "tcp", "FromPort": 8786, "ToPort": 8786, **rule}
            ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[inward])
            with dask.config.set({"jupyter-compute.layers.aws.security-groups": [made]}):
                layer = EC2Layer(Account(), lambda: [OFFER])
                assert f"{made} lets in everybody" in layer.why_not()
                launched = self.launch(layer)
            assert launched.machines == ()
            assert [refusal.kind for refusal in launched.refused] == ["invalid"]

    def test_settings_of_dask_cloudprovider_count(self, sandbox: Sandbox):
        ec2 = sandbox.client("ec2")
        subnet = ec2.describe_subnets()["Subnets"][-1]
        group = ec2.create_security_group(GroupName=f"g{time.time_ns()}", Description="x")
        theirs = {
            "subnet_id": subnet["SubnetId"],
            "security_groups": [group["GroupId"]],
            "filesystem_size": 50,
            "instance_tags": {"team": "mine", "Name": "theirs"},
        }
        with dask.config.set({f"cloudprovider.ec2.{name}": v for name, v in theirs.items()}):
            (machine,) = self.launch(EC2Layer(Account(), lambda: [OFFER])).machines
        answer = ec2.describe_instances(InstanceIds=[machine.id])
        (found,) = answer["Reservations"][0]["Instances"]
        assert found["SubnetId"] == subnet["SubnetId"]
        assert [g["GroupId"] for g in found["SecurityGroups"]] == [group["GroupId"]]
        tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
        assert (tags["team"], tags["Name"]) == ("mine", "jupyter-compute")
        disk = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        assert ec2.describe_volumes(VolumeIds=[disk])["Volumes"][0]["Size"] == 50

    def test_a_missing_image_or_network_is_named_with_its_region(self, sandbox: Sandbox):
        with dask.config.set({"jupyter-compute.layers.ec2.ami": "ami-00000000000000000"}):
            assert why_not().startswith("there is no image ami-00000000000000000 in us-east-1")
        with dask.config.set({"jupyter-compute.layers.aws.subnets": ["subnet-0123456789abcdef0"]}):
            assert "subnet-0123456789abcdef0" in why_not()

    def test_a_region_without_a_default_network(self, sandbox: Sandbox):
        ec2 = sandbox.client("ec2")
        with dask.config.set({"jupyter-compute.layers.aws.region": "ap-south-1"}):
            account = Account()
            (vpc,) = account.call("ec2", "describe_vpcs")["Vpcs"]
            for subnet in account.call("ec2", "describe_subnets")["Subnets"]:
                account.call("ec2", "delete_subnet", SubnetId=subnet["SubnetId"])
            account.call("ec2", "delete_vpc", VpcId=vpc["VpcId"])
            assert why_not().startswith("there is no default network (VPC) in ap-south-1")
        assert ec2.describe_vpcs()["Vpcs"]

    def test_a_refusal_says_which_call_it_is_about(self, sandbox: Sandbox):
        sandbox.ask("fault", action="DescribeVpcs", code="UnauthorizedOperation")
        with pytest.raises(CallFailed) as refused:
            Account().call("ec2", "describe_vpcs")
        assert refused.value.kind == "permission"
        assert refused.value.to_wire()["error"] == "PoolError"


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (
            "127.0.0.1",
            "machines of AWS cannot reach this computer at 127.0.0.1: set scheduler-host",
        ),
        ("192.0.2.77", "scheduler-host: '192.0.2.77' is not an address of this computer"),
    ],
)
def test_a_pool_that_machines_cannot_reach_launches_none(
    home: Home, monkeypatch: pytest.MonkeyPatch, host: str, why: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    said = {"layers.aws.region": "us-east-1", "scheduler-host": host, "scheduler": "here"}
    with dask.config.set({f"jupyter-compute.{name}": value for name, value in said.items()}):
        assert why_not().startswith(why)


def test_an_installation_has_one_id(home: Home) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: installation(), range(16)))
    assert len(ids) == 1
    assert len(ids.pop()) == 12
