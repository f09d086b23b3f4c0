"""What can be done to machines, and what is told and charged."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from jupyter_compute.errors import PoolError
from sandboxes import SCRIPT, wait

pytestmark = pytest.mark.slow

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}


def one(sandbox, script=SCRIPT, **more):
    """Launch a machine, and return its record once it runs."""
    (made,) = sandbox.run(UserData=script, **more)
    return sandbox.wait_for(made["InstanceId"], "running")


def metadata(sandbox, machine, path, token=None):
    """Return what the machine's metadata endpoint tells."""
    url = f"{sandbox.state['endpoint']}/_sandbox/metadata/{machine['id']}/latest/{path}"
    headers = {} if token is None else {"X-aws-ec2-metadata-token": token}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode()


def status(sandbox, machine, path, token=None):
    """Return the status of an answer that is an error."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        metadata(sandbox, machine, path, token)
    caught.value.close()
    return caught.value.code


def token_of(sandbox, machine):
    """Return a token of the machine's metadata endpoint."""
    url = f"{sandbox.state['endpoint']}/_sandbox/metadata/{machine['id']}/latest/api/token"
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    asked = urllib.request.Request(url, method="PUT", headers=headers)
    with urllib.request.urlopen(asked) as answer:
        return answer.read().decode()


def test_killed(sandbox):
    machine = one(sandbox, "#!/bin/sh\nsetsid sleep 1000 &\nexec sleep 1001\n")
    assert psutil.pid_exists(machine["pid"])
    sandbox.ask("kill", machine=machine["id"])
    found = sandbox.wait_for(machine["id"], "terminated")
    assert found["why"].startswith("Server.")
    assert not psutil.pid_exists(machine["pid"])
    described = sandbox.client("ec2").describe_instances(InstanceIds=[machine["id"]])
    reason = described["Reservations"][0]["Instances"][0]["StateReason"]
    assert reason["Code"] == "Server.InternalError"
    with pytest.raises(PoolError, match="terminated already"):
        sandbox.ask("kill", machine=machine["id"])


def test_frozen_and_thawed(sandbox):
    machine = one(sandbox)
    process = psutil.Process(machine["pid"])
    sandbox.ask("freeze", machine=machine["id"])
    wait(lambda: process.status() == psutil.STATUS_STOPPED)
    assert sandbox.machine(machine["id"])["frozen"]
    sandbox.ask("thaw", machine=machine["id"])
    wait(lambda: process.status() == psutil.STATUS_SLEEPING)


def test_a_frozen_machine_can_be_terminated(sandbox):
    machine = one(sandbox)
    sandbox.ask("freeze", machine=machine["id"])
    sandbox.client("ec2").terminate_instances(InstanceIds=[machine["id"]])
    sandbox.wait_for(machine["id"], "terminated")


def test_a_spot_notice_is_in_the_metadata_and_comes_true(sandbox):
    machine = one(sandbox, **SPOT)
    token = token_of(sandbox, machine)
    assert status(sandbox, machine, "meta-data/spot/instance-action", token) == 404
    sandbox.ask("notice", machine=machine["id"])
    noticed = time.monotonic()
    told = json.loads(metadata(sandbox, machine, "meta-data/spot/instance-action", token))
    assert told["action"] == "terminate"
    found = sandbox.wait_for(machine["id"], "terminated")
    # Two minutes at this clock rate.
    assert 1.8 < time.monotonic() - noticed < 5
    assert found["why"].startswith("Server.SpotInstanceTermination")


def test_only_spot_machines_get_notices(sandbox):
    machine = one(sandbox)
    with pytest.raises(PoolError, match="no spot machine"):
        sandbox.ask("notice", machine=machine["id"])


def test_machines_whose_boot_fails(sandbox):
    sandbox.ask("boot-fail", count=1)
    script = "#!/bin/sh\necho it booted\nexec sleep 1000\n"
    first, second = one(sandbox, script), one(sandbox, script)
    wait(lambda: "it booted" in Path(second["console"]).read_text())
    wait(lambda: "lets this boot fail" in Path(first["console"]).read_text())
    assert not psutil.pid_exists(first["pid"]) or not sandbox.machine(first["id"])["ended"]


def test_an_instance_whose_script_has_ended_goes_on(sandbox):
    machine = one(sandbox, "#!/bin/sh\nexit 0\n")
    time.sleep(0.3)
    assert sandbox.machine(machine["id"])["state"] == "running"


def test_the_clock_rate_scales_when_a_machine_shuts_down(sandbox):
    machine = one(sandbox, "#!/bin/sh\nshutdown -h +1\nexec sleep 1000\n")
    sandbox.wait_for(machine["id"], "terminated")
    found = sandbox.machine(machine["id"])
    assert 0.9 < found["ended"] - found["started"] < 5


def test_a_shutdown_can_be_cancelled(sandbox):
    script = "#!/bin/sh\nshutdown -h +1\nsleep 0.3\nshutdown -c\nexec sleep 1000\n"
    machine = one(sandbox, script)
    time.sleep(1.5)
    assert sandbox.machine(machine["id"])["state"] == "running"


def test_metadata_needs_a_token_where_it_is_required(sandbox):
    machine = one(sandbox, MetadataOptions={"HttpTokens": "required"})
    assert status(sandbox, machine, "meta-data/instance-id") == 401
    assert status(sandbox, machine, "meta-data/instance-id", "forged") == 401
    token = token_of(sandbox, machine)
    assert metadata(sandbox, machine, "meta-data/instance-id", token) == machine["id"]
    assert metadata(sandbox, machine, "user-data", token) == SCRIPT
    assert status(sandbox, machine, "meta-data/iam/security-credentials/", token) == 404


def test_a_machine_is_reached_at_its_own_loopback_address(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = f"#!/bin/sh\necho $JUPYTER_COMPUTE_SANDBOX_MACHINE >id\nexec python3 -m http.server {port}\n"
    first, second = one(sandbox, script), one(sandbox, script)
    assert first["address"] != second["address"]
    for machine in (first, second):
        url = f"http://{machine['address']}:{port}/id"

        def answer(url=url):
            try:
                with urllib.request.urlopen(url, timeout=1) as opened:
                    return opened.read()
            except OSError:
                return b""

        assert machine["id"].encode() in wait(answer)


def test_the_bill_is_price_times_time(sandbox):
    machine = one(sandbox, InstanceType="c5.2xlarge")
    sandbox.client("ec2").terminate_instances(InstanceIds=[machine["id"]])
    found = sandbox.wait_for(machine["id"], "terminated")
    bill = sandbox.ask("bill")
    (item,) = [item for item in bill["items"] if item["machine"] == machine["id"]]
    assert item["usd_per_hour"] == 0.34
    seconds = max(60.0, (found["ended"] - found["started"]) * sandbox.state["clock_rate"])
    assert item["usd"] == pytest.approx(0.34 * seconds / 3600)
    assert bill["usd"] >= item["usd"]


def test_list_prices_come_from_the_price_list(sandbox):
    pricing = sandbox.client("pricing")
    filters = {"instanceType": "m5.xlarge", "regionCode": "us-east-1", "operatingSystem": "Linux"}
    asked = [{"Type": "TERM_MATCH", "Field": key, "Value": text} for key, text in filters.items()]
    (text,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=asked)["PriceList"]
    (term,) = json.loads(text)["terms"]["OnDemand"].values()
    (price,) = term["priceDimensions"].values()
    assert float(price["pricePerUnit"]["USD"]) == 0.192
    pages = pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2")
    assert sum(len(page["PriceList"]) for page in pages) > 1000
    fargate = pricing.get_products(ServiceCode="AmazonECS")["PriceList"]
    assert {json.loads(each)["product"]["attributes"]["usagetype"] for each in fargate} >= {
        "USE1-Fargate-vCPU-Hours:perCPU",
        "USE1-Fargate-GB-Hours",
    }


def test_spot_prices_are_of_now_and_of_a_zone(sandbox):
    ec2 = sandbox.client("ec2")
    found = ec2.describe_spot_price_history(
        InstanceTypes=["c5.2xlarge"],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.now(UTC),
    )["SpotPriceHistory"]
    assert len(found) == len({one["AvailabilityZone"] for one in found}) == 6
    assert len({one["SpotPrice"] for one in found}) == 6
    for each in found:
        assert 0.25 < float(each["SpotPrice"]) / 0.34 < 0.45
        assert (datetime.now(UTC) - each["Timestamp"]).total_seconds() < 3600


def test_every_knob_is_of_this_user_only(sandbox):
    url = f"{sandbox.state['endpoint']}/_sandbox/control/machines"
    asked = urllib.request.Request(url, data=b"{}", headers={"X-Sandbox-Key": "guessed"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    caught.value.close()
    assert caught.value.code == 403
    with sandbox.home.entered():
        path = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / "compute/sandbox/sandbox.json"
    assert path.stat().st_mode & 0o777 == 0o600


def test_machines_on_loopback_cannot_be_cut_off(sandbox):
    machine = one(sandbox)
    with pytest.raises(PoolError, match="--net netns"):
        sandbox.ask("cut", machine=machine["id"])
