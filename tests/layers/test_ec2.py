"""EC2: what a machine is launched as, and what becomes of a launch that AWS refuses."""

from __future__ import annotations

import base64
import itertools
import json
import time
from typing import Any

import dask.config
import pytest

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Boot, Launch, Launched
from jupyter_compute.layers.ec2 import EC2Layer
from jupyter_compute.layers.images import architecture
from jupyter_compute.model import Offer
from sandboxes import Sandbox
from services import wait_until

pytestmark = pytest.mark.slow

GIB = 2**30
BOOT = Boot("https://127.0.0.1:1", "ab" * 32, "a-token", lifetime_s=3600)
_numbers = itertools.count(1)


def offer(kind: str = "m5.large", **more: Any) -> Offer:
    return Offer("ec2", kind, 2, 6 * GIB, usd_per_hour=0.1, region="us-east-1", **more)


def launch(*offers: Offer, count: int = 1) -> Launch:
    return Launch(f"ec2-{next(_numbers)}-{time.time_ns() // 1000}", offers, count, BOOT)


@pytest.fixture
def layer(account: Account) -> EC2Layer:
    return EC2Layer(account, lambda: [offer()])


def described(sandbox: Sandbox, launched: Launched) -> list[dict[str, Any]]:
    """Return what AWS says of the machines."""
    ids = [machine.id for machine in launched.machines]
    found = sandbox.client("ec2").describe_instances(InstanceIds=ids)
    return [one for reservation in found["Reservations"] for one in reservation["Instances"]]


def calls(sandbox: Sandbox, launch: Launch) -> list[dict[str, Any]]:
    """Return the calls that asked for machines of the launch."""
    return [
        call
        for call in sandbox.calls("RunInstances")
        if str(call["params"].get("ClientToken", "")).startswith(launch.id)
    ]


class TestWhatIsLaunched:
    def test_it_is_closed_encrypted_and_gone_when_it_ends(self, sandbox, layer):
        asked = launch(offer(spot=True))
        launched = layer.launch(asked)
        (found,) = described(sandbox, launched)
        (call,) = calls(sandbox, asked)
        said = call["params"]
        ec2 = sandbox.client("ec2")
        assert found["MetadataOptions"]["HttpTokens"] == "required"
        assert said["MetadataOptions.HttpPutResponseHopLimit"] == "1"
        assert "KeyName" not in found
        assert "IamInstanceProfile" not in found
        assert found["InstanceLifecycle"] == "spot"
        ending = ec2.describe_instance_attribute(
            InstanceId=found["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
        )
        assert ending["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
        disks = [mapping["Ebs"] for mapping in found["BlockDeviceMappings"]]
        assert [disk["DeleteOnTermination"] for disk in disks] == [True]
        (volume,) = ec2.describe_volumes(VolumeIds=[disks[0]["VolumeId"]])["Volumes"]
        assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 20)

    def test_its_tags_are_in_the_call_that_launches_it(self, sandbox, layer):
        asked, before = launch(offer()), len(sandbox.calls("CreateTags"))
        (found,) = described(sandbox, layer.launch(asked))
        tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
        assert tags == {
            "jupyter-compute:owner": Account().owner,
            "jupyter-compute:launch": asked.id,
            "Name": "jupyter-compute",
        }
        assert len(sandbox.calls("CreateTags")) == before

    def test_nobody_may_call_it(self, sandbox, layer):
        (found,) = described(sandbox, layer.launch(launch(offer())))
        ids = [group["GroupId"] for group in found["SecurityGroups"]]
        groups = sandbox.client("ec2").describe_security_groups(GroupIds=ids)["SecurityGroups"]
        assert [(group["GroupName"], group["IpPermissions"]) for group in groups] == [
            ("jupyter-compute", [])
        ]

    def test_its_script_tells_it_where_its_pool_is_and_ends_it(self, sandbox, layer):
        launched = layer.launch(launch(offer()))
        answer = sandbox.client("ec2").describe_instance_attribute(
            InstanceId=launched.machines[0].id, Attribute="userData"
        )
        script = base64.b64decode(answer["UserData"]["Value"]).decode()
        assert script.startswith("#!/bin/sh\n")
        assert "\nshutdown -h +60\n" in script
        assert "trap 'shutdown -h now' EXIT" in script
        told = json.loads(script.partition("JUPYTER_COMPUTE_BOOT='")[2].partition("'\n")[0])
        assert told == {
            "url": BOOT.url,
            "authority": BOOT.authority,
            "token": BOOT.token,
            "cpu": 2,
            "memory": 6 * GIB,
            "gpu": 0,
            "spot": False,
        }

    @pytest.mark.parametrize("kind", ["t4g.small", "m7g.large"])
    def test_the_newest_image_suits_the_processor(self, sandbox, layer, kind):
        with dask.config.set({"jupyter-compute.layers.ec2.ami": None}):
            (found,) = described(sandbox, layer.launch(launch(offer(kind))))
        (image,) = sandbox.client("ec2").describe_images(ImageIds=[found["ImageId"]])["Images"]
        assert image["Architecture"] == "arm64"
        assert found["ImageId"] != sandbox.state["image"]

    def test_an_image_of_ones_own_decides_what_is_offered(self, account):
        known = [offer("m7g.large"), offer("m5.large")]
        layer = EC2Layer(account, lambda: known)
        assert layer.offers() == known[1:]
        with dask.config.set({"jupyter-compute.layers.ec2.ami": None}):
            assert layer.offers() == known

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("a1.large", "arm64"),
            ("c6gn.large", "arm64"),
            ("im4gn.large", "arm64"),
            ("x2gd.large", "arm64"),
            ("g4dn.xlarge", "x86_64"),
            ("g5.xlarge", "x86_64"),
            ("gr6.4xlarge", "x86_64"),
            ("m7i-flex.large", "x86_64"),
            ("p4de.24xlarge", "x86_64"),
            ("u-6tb1.metal", "x86_64"),
        ],
    )
    def test_the_name_of_a_type_tells_its_processor(self, kind, expected):
        assert architecture(kind) == expected


class TestRefusals:
    def test_no_capacity_leads_to_the_next_offer(self, sandbox, layer):
        sandbox.ask(
            "fault",
            action="RunInstances",
            code="InsufficientInstanceCapacity",
            match={"type": "m5.large"},
        )
        asked = launch(offer(spot=True), offer("c5.large"))
        launched = layer.launch(asked)
        assert [m.offer.type for m in launched.machines] == ["c5.large"]
        (refusal,) = launched.refused
        assert (refusal.kind, refusal.offer) == ("capacity", asked.offers[0])
        assert "m5.large" in refusal.message
        # The same launch again neither asks nor starts anything.
        before = len(calls(sandbox, asked))
        assert layer.launch(asked) == launched
        assert len(calls(sandbox, asked)) == before

    def test_no_capacity_in_one_zone_leads_to_another(self, sandbox, layer):
        sandbox.ask(
            "fault",
            action="RunInstances",
            code="InsufficientInstanceCapacity",
            match={"zone": "us-east-1a"},
        )
        launched = layer.launch(launch(offer(zone="us-east-1a"), offer(zone="us-east-1b")))
        assert [m.offer.zone for m in launched.machines] == ["us-east-1b"]
        assert [refusal.kind for refusal in launched.refused] == ["capacity"]

    def test_no_capacity_anywhere_launches_nothing(self, sandbox, layer):
        sandbox.ask("fault", action="RunInstances", code="InsufficientInstanceCapacity")
        launched = layer.launch(launch(offer(spot=True), offer()))
        assert launched.machines == ()
        assert [refusal.kind for refusal in launched.refused] == ["capacity", "capacity"]
        assert sandbox.machines("pending", "running") == []

    def test_spot_that_is_not_to_be_had_becomes_on_demand(self, sandbox, layer):
        sandbox.ask(
            "fault",
            action="RunInstances",
            code="InsufficientInstanceCapacity",
            match={"lifecycle": "spot"},
        )
        launched = layer.launch(launch(offer(spot=True), offer()))
        assert [machine.offer.spot for machine in launched.machines] == [False]

    def test_what_one_offer_has_too_few_of_comes_from_the_next(self, sandbox, layer):
        sandbox.ask("fault", action="RunInstances", partial=2, count=1)
        asked = launch(offer(), offer("c5.large"), count=3)
        launched = layer.launch(asked)
        assert sorted(m.offer.type for m in launched.machines) == [
            "c5.large",
            "m5.large",
            "m5.large",
        ]
        assert len(sandbox.machines("pending", "running")) == 3
        assert len(layer.launch(asked).machines) == 3
        assert len(sandbox.machines("pending", "running")) == 3

    def test_a_quota_is_not_tried_again_with_its_other_types(self, sandbox, layer):
        sandbox.ask("quota", vcpus=0)
        asked = launch(offer("m5.large"), offer("c5.large"), offer("r5.large", spot=True))
        launched = layer.launch(asked)
        assert [refusal.kind for refusal in launched.refused] == ["quota", "quota"]
        said = launched.refused[0].message
        assert said.startswith("the account's quota of 0 vCPU in us-east-1 is reached (request an")
        assert said.endswith("or ask for less)")
        assert launched.refused[0].limit == 0
        # Once for each of the two quotas.
        assert {call["params"]["ClientToken"][-1] for call in calls(sandbox, asked)} == {"0", "2"}

    def test_a_missing_permission_is_named_and_ends_the_launch(self, sandbox, layer):
        sandbox.ask("fault", action="RunInstances", code="UnauthorizedOperation")
        asked = launch(offer(), offer("c5.large"))
        launched = layer.launch(asked)
        (refusal,) = launched.refused
        assert refusal.kind == "permission"
        assert "may not ec2:RunInstances in us-east-1" in refusal.message
        assert len(calls(sandbox, asked)) == 1
        sandbox.ask("clear")
        assert len(layer.launch(asked).machines) == 1

    def test_throttling_ends_the_launch_for_now(self, sandbox, layer):
        sandbox.ask("fault", action="RunInstances", code="RequestLimitExceeded")
        asked = launch(offer(), offer("c5.large"))
        assert [refusal.kind for refusal in layer.launch(asked).refused] == ["throttled"]
        assert len(calls(sandbox, asked)) == 2

    def test_expired_credentials_say_how_to_log_in(self, sandbox, layer):
        sandbox.ask("fault", action="*", code="ExpiredToken")
        (refusal,) = layer.launch(launch(offer())).refused
        assert refusal.kind == "credentials"
        assert "`aws sso login`" in refusal.message


class TestLostAndLate:
    def test_a_reply_that_is_lost_starts_nothing_twice(self, sandbox, layer):
        sandbox.ask("fault", action="RunInstances", drop_reply=True, count=2)
        asked = launch(offer(), offer("c5.large"), count=2)
        with pytest.raises(PoolError, match="no answer from AWS"):
            layer.launch(asked)
        launched = layer.launch(asked)
        assert [m.offer.type for m in launched.machines] == ["m5.large", "m5.large"]
        assert {m["id"] for m in sandbox.machines("pending", "running")} == {
            m.id for m in launched.machines
        }

    def test_a_machine_that_is_not_listed_yet_is_alive(self, sandbox, layer):
        sandbox.ask("fault", action="DescribeInstances", delay_s=600)
        asked = launch(offer())
        (machine,) = layer.launch(asked).machines
        assert [(m.id, m.state) for m in layer.list() if m.launch == asked.id] == [
            (machine.id, "alive")
        ]

    def test_a_machine_that_is_not_listed_yet_is_terminated(self, sandbox, layer):
        sandbox.ask("fault", action="DescribeInstances", delay_s=600)
        (machine,) = layer.launch(launch(offer())).machines
        assert not layer.terminate(machine.id)
        sandbox.wait_for(machine.id, "terminated")
        sandbox.ask("clear")
        wait_until(lambda: layer.terminate(machine.id))

    def test_one_minute_later_it_is_lost(self, sandbox, account):
        now = [0.0]
        layer = EC2Layer(account, lambda: [offer()], lambda: now[0])
        sandbox.ask("fault", action="DescribeInstances", delay_s=600)
        (machine,) = layer.launch(launch(offer())).machines
        now[0] = 61.0
        assert machine.id not in {m.id for m in layer.list()}

    def test_another_pool_waits_until_what_was_launched_is_listed(self, sandbox, account, layer):
        asked = launch(offer(), count=2)
        first = layer.launch(asked)
        sandbox.ask("fault", action="DescribeInstances", delay_s=600)
        # Its invitation is a new one, so that the token stands for something else.
        invited = Launch(
            asked.id, asked.offers, asked.count, Boot(BOOT.url, BOOT.authority, "newer")
        )
        other = EC2Layer(account, lambda: [offer()])
        with pytest.raises(PoolError, match="not listed yet"):
            other.launch(invited)
        sandbox.ask("clear")
        assert {m.id for m in other.launch(invited).machines} == {m.id for m in first.machines}

    def test_termination_is_repeated_until_aws_carries_it_out(self, sandbox, layer):
        (machine,) = layer.launch(launch(offer())).machines
        sandbox.ask("fault", action="TerminateInstances", code="InternalError", count=4)
        failures = 0
        while True:
            try:
                if layer.terminate(machine.id):
                    break
            except PoolError:
                failures += 1
        assert failures >= 1
        assert sandbox.machine(machine.id)["state"] == "terminated"

    def test_machines_of_others_are_neither_listed_nor_terminated(self, sandbox, layer):
        foreign = EC2Layer(Account("0123456789ab"), lambda: [offer()])
        (theirs,) = foreign.launch(launch(offer())).machines
        assert theirs.id not in {machine.id for machine in layer.list()}
        assert layer.terminate(theirs.id)
        assert sandbox.machine(theirs.id)["state"] in {"pending", "running"}
        assert not any(
            theirs.id in call["params"].values() for call in sandbox.calls("TerminateInstances")
        )
