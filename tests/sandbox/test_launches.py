"""What AWS refuses and forgives at a launch, which moto alone would not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from sandboxes import Sandbox

pytestmark = pytest.mark.slow


def refusal(sandbox: Sandbox, **more: Any) -> str:
    """Return why the launch is refused; nothing may have been launched."""
    before = len(sandbox.machines())
    with pytest.raises(ClientError) as caught:
        sandbox.run(**more)
    assert len(sandbox.machines()) == before
    return f"{caught.value.response['Error']['Code']}: {caught.value.response['Error']['Message']}"


@pytest.fixture
def template(sandbox):
    """A launch template, whose machines terminate when they shut down."""
    ec2 = sandbox.client("ec2")
    data = {
        "ImageId": sandbox.state["image"],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": base64.b64encode(b"#!/bin/sh\nshutdown -h +60\nexec sleep 1000\n").decode(),
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    }
    made = ec2.create_launch_template(LaunchTemplateName="jc", LaunchTemplateData=data)
    name = made["LaunchTemplate"]["LaunchTemplateId"]
    yield name
    ec2.delete_launch_template(LaunchTemplateId=name)


def fleet(sandbox, template, count=1, spot=0, overrides=(), **more):
    """Create an instant fleet, and return the answer."""
    return sandbox.client("ec2").create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"},
                "Overrides": [dict(each) for each in overrides],
            }
        ],
        TargetCapacitySpecification={
            "TotalTargetCapacity": count,
            "SpotTargetCapacity": spot,
            "OnDemandTargetCapacity": count - spot,
            "DefaultTargetCapacityType": "on-demand",
        },
        **more,
    )


def types(answer):
    """Return how many of which type were launched."""
    return {one["InstanceType"]: len(one["InstanceIds"]) for one in answer["Instances"]}


def test_the_same_token_is_the_same_launch(sandbox):
    (first,) = sandbox.run(ClientToken="a-1")
    (second,) = sandbox.run(ClientToken="a-1")
    assert first["InstanceId"] == second["InstanceId"]
    filters = [{"Name": "client-token", "Values": ["a-1"]}]
    found = sandbox.client("ec2").describe_instances(Filters=filters)["Reservations"]
    assert [one["Instances"][0]["InstanceId"] for one in found] == [first["InstanceId"]]
    assert len(sandbox.machines("pending", "running")) == 1
    assert refusal(sandbox, ClientToken="a-1", InstanceType="c5.xlarge").startswith(
        "IdempotentParameterMismatch"
    )


def test_a_token_is_worthless_once_its_instances_are_terminated(sandbox):
    (made,) = sandbox.run(ClientToken="a-2")
    sandbox.client("ec2").terminate_instances(InstanceIds=[made["InstanceId"]])
    sandbox.wait_for(made["InstanceId"], "terminated")
    assert refusal(sandbox, ClientToken="a-2").startswith("IdempotentInstanceTerminated")


def test_a_token_of_a_refused_launch_is_free(sandbox):
    sandbox.ask("fault", action="RunInstances", code="InsufficientInstanceCapacity", count=6)
    assert "InsufficientInstanceCapacity" in refusal(sandbox, ClientToken="a-3")
    assert len(sandbox.run(ClientToken="a-3")) == 1


def test_what_aws_refuses(sandbox):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"UserData": "#!/bin/sh\n" + "x" * 16384}, "User data is limited to 16384 bytes"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        ({"InstanceType": "c5.huge"}, "InvalidInstanceType"),
        ({"InstanceType": "c7g.large"}, "architecture"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID"),
        ({"Placement": {"AvailabilityZone": "us-east-1x"}}, "InvalidParameterValue"),
    ]
    for more, said in cases:
        assert said in refusal(sandbox, **more), more
    assert len(sandbox.run(UserData="#" * 16384)) == 1


def test_as_many_as_asked_for(sandbox):
    assert len(sandbox.run(MinCount=1, MaxCount=3)) == 3
    sandbox.ask("fault", action="RunInstances", partial=1)
    assert len(sandbox.run(MinCount=1, MaxCount=3)) == 1
    assert "InsufficientInstanceCapacity" in refusal(sandbox, MinCount=2, MaxCount=3)


def test_the_newest_images_are_parameters(sandbox):
    ssm, ec2 = sandbox.client("ssm"), sandbox.client("ec2")
    for name, kind in (
        ("ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64", "x86_64"),
        ("ami-amazon-linux-latest/al2023-ami-kernel-default-arm64", "arm64"),
        ("canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id", "arm64"),
    ):
        image = ssm.get_parameter(Name=f"/aws/service/{name}")["Parameter"]["Value"]
        (found,) = ec2.describe_images(ImageIds=[image])["Images"]
        assert found["Architecture"] == kind


def test_no_capacity_in_one_zone_is_found_in_another(sandbox):
    sandbox.ask(
        "fault",
        action="RunInstances",
        code="InsufficientInstanceCapacity",
        match={"type": "c5.large", "zone": "us-east-1a"},
    )
    (made,) = sandbox.run()
    assert made["Placement"]["AvailabilityZone"] == "us-east-1b"
    where = {"AvailabilityZone": "us-east-1a"}
    assert "InsufficientInstanceCapacity" in refusal(sandbox, Placement=where)
    assert len(sandbox.run(Placement=where, InstanceType="c5.xlarge")) == 1


def test_the_quota_counts_spot_apart(sandbox):
    sandbox.ask("quota", vcpus=4)
    sandbox.run(MinCount=2, MaxCount=2)
    assert refusal(sandbox).startswith("VcpuLimitExceeded")
    spot = {"MarketType": "spot"}
    (made,) = sandbox.run(InstanceMarketOptions=spot)
    assert made["InstanceLifecycle"] == "spot"
    assert made["SpotInstanceRequestId"].startswith("sir-")
    said = refusal(sandbox, InstanceMarketOptions=spot, InstanceType="c5.2xlarge")
    assert said.startswith("MaxSpotInstanceCountExceeded")


def test_throttling_passes_after_the_count(sandbox):
    sandbox.ask("fault", action="*", code="RequestLimitExceeded", count=1)
    with pytest.raises(ClientError, match="RequestLimitExceeded") as caught:
        sandbox.client("ec2").describe_instances()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    sandbox.client("ec2").describe_instances()


def test_a_lost_reply_was_a_launch(sandbox):
    sandbox.ask("fault", action="RunInstances", drop_reply=True, count=1)
    with pytest.raises(ConnectionClosedError):
        sandbox.run(ClientToken="lost")
    assert len(sandbox.machines("pending", "running")) == 1
    sandbox.run(ClientToken="lost")
    assert len(sandbox.machines("pending", "running")) == 1
    assert sandbox.calls("RunInstances")[-2]["dropped"]


def test_a_new_instance_may_not_be_seen_yet(sandbox):
    ec2 = sandbox.client("ec2")
    sandbox.ask("fault", action="DescribeInstances", delay_s=1000.0)
    (made,) = sandbox.run()
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        ec2.describe_instances(InstanceIds=[made["InstanceId"]])
    filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    assert ec2.describe_instances(Filters=filters)["Reservations"] == []
    sandbox.ask("clear")
    assert len(ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"]) == 1


def test_the_call_log_says_what_was_asked_but_no_user_data(sandbox):
    (*_, last) = sandbox.ask("calls")
    sandbox.run(UserData="#!/bin/sh\n# token 4711\n")
    calls = sandbox.ask("calls", since=last["n"])
    (call,) = [call for call in calls if call["action"] == "RunInstances"]
    assert (call["service"], call["status"], call["code"]) == ("ec2", 200, "")
    assert call["params"]["InstanceType"] == "c5.large"
    assert "characters" in call["params"]["UserData"]


def test_nobody_without_the_key_gets_in(sandbox):
    ec2 = sandbox.client("ec2")
    stranger = sandbox._make("ec2", {})
    stranger._request_signer._credentials.access_key = "AKIAIOSFODNN7EXAMPLE"
    with pytest.raises(ClientError, match="AuthFailure"):
        stranger.describe_instances()
    stranger.close()
    ec2.describe_instances()


def test_a_fleet_takes_the_cheapest_and_then_the_next(sandbox, template):
    overrides = [{"InstanceType": "m5.2xlarge"}, {"InstanceType": "c5.2xlarge"}]
    answer = fleet(sandbox, template, 2, overrides=overrides)
    assert types(answer) == {"c5.2xlarge": 2}
    assert answer["Errors"] == []
    sandbox.ask(
        "fault",
        action="CreateFleet",
        code="InsufficientInstanceCapacity",
        match={"type": "c5.2xlarge"},
    )
    answer = fleet(sandbox, template, 2, spot=1, overrides=overrides)
    assert sum(types(answer).values()) <= 2
    assert {one["Lifecycle"] for one in answer["Instances"]} == {"spot", "on-demand"}
    assert {one["InstanceType"] for one in answer["Instances"]} == {"m5.2xlarge"}
    assert {error["ErrorCode"] for error in answer["Errors"]} == {"InsufficientInstanceCapacity"}
    told = answer["Errors"][0]["LaunchTemplateAndOverrides"]["Overrides"]
    assert told["InstanceType"] == "c5.2xlarge"


def test_a_fleet_without_any_room_succeeds_with_errors_only(sandbox, template):
    sandbox.ask("fault", action="CreateFleet", code="InsufficientInstanceCapacity")
    answer = fleet(sandbox, template, overrides=[{"InstanceType": "c5.large"}])
    assert answer["Instances"] == []
    assert answer["Errors"][0]["ErrorCode"] == "InsufficientInstanceCapacity"
    assert sandbox.machines("pending", "running") == []


def test_a_fleet_may_be_partial(sandbox, template):
    sandbox.ask("fault", action="CreateFleet", partial=4, count=1)
    overrides = [{"InstanceType": "c5.large"}]
    answer = fleet(sandbox, template, 6, overrides=overrides)
    assert types(answer) == {"c5.large": 4}
    assert answer["Errors"]
    assert types(fleet(sandbox, template, 2, overrides=overrides)) == {"c5.large": 2}


def test_a_fleet_respects_the_quota(sandbox, template):
    sandbox.ask("quota", vcpus=5)
    answer = fleet(sandbox, template, 4, overrides=[{"InstanceType": "c5.large"}])
    assert types(answer) == {"c5.large": 2}
    assert answer["Errors"][0]["ErrorCode"] == "VcpuLimitExceeded"


def test_a_fleet_launches_what_its_template_and_tags_say(sandbox, template):
    tags = [{"Key": "jupyter-compute:launch", "Value": "l-1"}]
    asked = {
        "overrides": [{"InstanceType": "c5.large"}],
        "ClientToken": "f-1",
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    }
    (one,) = fleet(sandbox, template, **asked)["Instances"]
    (name,) = one["InstanceIds"]
    # The same call again is the same fleet.
    assert fleet(sandbox, template, **asked)["Instances"] == [one]
    assert len(sandbox.machines("pending", "running")) == 1
    ec2 = sandbox.client("ec2")
    filters = [{"Name": "tag:jupyter-compute:launch", "Values": ["l-1"]}]
    (found,) = ec2.describe_instances(Filters=filters)["Reservations"][0]["Instances"]
    assert (found["InstanceId"], found["MetadataOptions"]["HttpTokens"]) == (name, "required")
    # Sixty minutes, as the machine asked for, are one at this clock rate: long after the test.
    sandbox.wait_for(name, "running")
    behaviour = ec2.describe_instance_attribute(
        InstanceId=name, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
