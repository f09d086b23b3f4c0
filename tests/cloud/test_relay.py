"""Machines and a pool that meet at a relay, as a user and the account see it."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import services
from clouds import Cloud, opened
from homes import Home
from jupyter_compute.relay import DOOR_PORT, POOL_PORT, SCHEDULER_PORT
from kernels import Kernel, ok
from sandboxes import wait

pytestmark = pytest.mark.slow

CHECKIP = "DASK_JUPYTER_COMPUTE__LAYERS__AWS__CHECKIP"


@pytest.fixture(scope="module")
def far_cloud(shared_home: Home) -> Iterator[Cloud]:
    """A cloud whose machines call a relay."""
    with opened(shared_home, "  scheduler: cloud\n") as own:
        yield own


@pytest.fixture
def cloud(far_cloud: Cloud) -> Iterator[Cloud]:
    """The same, with a pool and no machines."""
    with far_cloud.home.entered():
        far_cloud.start()
        yield far_cloud
        far_cloud.clear()


@pytest.fixture
def kernel(cloud: Cloud) -> Iterator[Kernel]:
    own = Kernel(cloud.home)
    ok(own.run("%load_ext jupyter_compute"))
    yield own
    own.close()


def relays(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the relays that the sandbox has and has not ended."""
    return [machine for machine in cloud.alive() if is_relay(cloud, machine)]


def is_relay(cloud: Cloud, machine: dict[str, Any]) -> bool:
    if machine["kind"] != "ec2":
        return False
    return cloud.tags(machine["id"]).get("jupyter-compute:role") == "relay"


def test_cells_run_on_machines_that_call_a_relay_which_goes_when_it_is_idle(
    cloud: Cloud, kernel: Kernel
) -> None:
    # So long that the next look at what waits comes in between.
    cloud.sandbox.ask("fault", action="RunInstances", delay_s=3.0, count=1)
    said = "".join(json.dumps(event) for event in cloud.submit("1 + 1"))
    assert "starting the relay" in said
    assert '"done"' in said
    reply = ok(kernel.run("%%remote --on fargate --cpu 0.5 --memory 1G\nprint('out')\n42"))
    assert (reply.result, reply.stdout.strip()) == ("42", "out")
    (relay,) = relays(cloud)
    shown = {machine["id"]: machine for machine in cloud.machines()}[relay["id"]]
    assert (shown["role"], shown["state"]) == ("relay", "ready")
    assert shown["type"] == f"{relay['type']} (relay) (sandbox)"
    assert 0 < shown["usd_per_hour"] < 0.01
    assert not relay["spot"]
    assert f"{relay['type']} (relay)" in ok(kernel.run("%compute machines")).stdout
    refused = services.ask("POST", f"/v1/machines/{relay['id']}/stop", {})
    assert refused.status == 409
    cloud.wait_until_empty()
    wait(lambda: len(cloud.machines()) == 1)


def test_what_a_relay_is_launched_with(cloud: Cloud) -> None:
    cloud.submit("1 + 1").until(kind="end")
    (relay,) = relays(cloud)
    ec2 = cloud.sandbox.client("ec2")
    found = ec2.describe_instances(InstanceIds=[relay["id"]])["Reservations"][0]["Instances"][0]
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["PublicIpAddress"]
    (machine,) = [one for one in cloud.alive() if one["id"] != relay["id"]]
    (theirs,) = groups(cloud, machine["id"])
    assert theirs["IpPermissions"] == []
    (group,) = groups(cloud, relay["id"])
    assert rules(group) == {
        (POOL_PORT, POOL_PORT, "127.0.0.1/32"),
        (DOOR_PORT, SCHEDULER_PORT, theirs["GroupId"]),
    }
    told = ec2.describe_instance_attribute(InstanceId=relay["id"], Attribute="userData")
    script = base64.b64decode(told["UserData"]["Value"]).decode()
    assert "BEGIN CERTIFICATE" in script
    assert "PRIVATE KEY" not in script
    tags = cloud.tags(relay["id"])
    assert {"jupyter-compute:owner", "jupyter-compute:launch"} <= set(tags)


def test_a_run_is_run_again_when_the_relay_is_lost(cloud: Cloud, tmp_path: Path) -> None:
    code = f"""
import os, pathlib, time
path = pathlib.Path({str(tmp_path / "tries")!r})
with path.open("a") as file:
    file.write("x")
while path.stat().st_size < 2:
    time.sleep(0.05)
"""
    stream = cloud.submit(code)
    wait((tmp_path / "tries").exists, 60)
    (lost,) = relays(cloud)
    cloud.sandbox.ask("kill", machine=lost["id"])
    assert stream.until(kind="end")["state"] == "done"
    (relay,) = relays(cloud)
    assert relay["id"] != lost["id"]
    wait(lambda: len(cloud.alive()) == 2)


def test_a_relay_ends_by_itself_when_its_pool_is_killed(far_cloud: Cloud) -> None:
    with far_cloud.home.entered(), far_cloud.hasty({"lease_s": 2.0, "lease_renew_s": 0.5}):
        far_cloud.submit("1 + 1").until(kind="end")
        (relay,) = relays(far_cloud)
        assert far_cloud.service is not None
        services.hang_up()
        services.kill(far_cloud.service)
        far_cloud.service = None
        far_cloud.wait_until_empty()
    assert "shutdown" in far_cloud.sandbox.machine(relay["id"])["why"]


def test_a_computer_that_is_seen_at_another_address_is_let_in_again(
    far_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = ["192.0.2.1"]
    with answering(seen) as url, far_cloud.home.entered():
        monkeypatch.setitem(far_cloud.sandbox.environment, CHECKIP, url)
        timers = {"relay_beat_s": 0.5, "relay_connect_s": 1.0, "relay_silent_s": 1.0}
        with far_cloud.hasty(timers):
            far_cloud.submit("1 + 1").until(kind="end")
            (relay,) = relays(far_cloud)
            (group,) = groups(far_cloud, relay["id"])
            assert (POOL_PORT, POOL_PORT, "192.0.2.1/32") in rules(group)
            far_cloud.sandbox.ask("freeze", machine=relay["id"])
            seen[0] = "192.0.2.2"

            def let_in() -> set[str]:
                (group,) = groups(far_cloud, relay["id"])
                return {source for port, _, source in rules(group) if port == POOL_PORT}

            wait(lambda: let_in() == {"192.0.2.2/32"}, 30)
            far_cloud.sandbox.ask("thaw", machine=relay["id"])
            assert far_cloud.submit("1 + 1").until(kind="end")["state"] == "done"
            assert [one["id"] for one in relays(far_cloud)] == [relay["id"]]


@pytest.mark.parametrize("action", ["AuthorizeSecurityGroupIngress", "RunInstances"])
def test_a_relay_that_may_not_be_started_ends_the_wait(far_cloud: Cloud, action: str) -> None:
    with far_cloud.home.entered(), far_cloud.hasty({}):
        group = far_cloud.sandbox.client("ec2").describe_security_groups(
            Filters=[{"Name": "group-name", "Values": ["jupyter-compute-relay"]}]
        )["SecurityGroups"]
        assert len(group) == 1
        forget(far_cloud, group[0])
        far_cloud.sandbox.ask("fault", action=action, code="UnauthorizedOperation")
        end = far_cloud.submit("1 + 1", layer="aws").until(kind="end")
        assert end["state"] == "failed"
        assert "no relay can be started" in json.dumps(end)
        assert action in json.dumps(end)
        assert far_cloud.alive() == []


def groups(cloud: Cloud, machine: str) -> list[dict[str, Any]]:
    """Return the security groups of an instance."""
    ec2 = cloud.sandbox.client("ec2")
    found = ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]
    ids = [group["GroupId"] for group in found["SecurityGroups"]]
    named: list[dict[str, Any]] = ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
    return named


def rules(group: dict[str, Any]) -> set[tuple[int, int, str]]:
    """Return the ports that a group lets in to, and from where."""
    found = set()
    for rule in group["IpPermissions"]:
        sources = [one["CidrIp"] for one in rule["IpRanges"]]
        sources += [one["GroupId"] for one in rule["UserIdGroupPairs"]]
        found |= {(rule["FromPort"], rule["ToPort"], source) for source in sources}
    return found


def forget(cloud: Cloud, group: dict[str, Any]) -> None:
    """Take from a group what lets in the pool."""
    for rule in group["IpPermissions"]:
        if rule["FromPort"] == POOL_PORT:
            cloud.sandbox.client("ec2").revoke_security_group_ingress(
                GroupId=group["GroupId"], IpPermissions=[rule]
            )


@contextlib.contextmanager
def answering(seen: list[str]) -> Iterator[str]:
    """Have something that says from which address it is called, whatever that is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{seen[0]}\n".encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
