"""Machines in namespaces of their own: they can be cut off, and nothing leads out. Needs root."""

from __future__ import annotations

import subprocess
import urllib.request

import pytest

import services
from homes import Home
from jupyter_compute.layers import setup
from jupyter_compute.sandbox import namespaces
from sandboxes import Sandbox, wait

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(namespaces.why_not())
        or subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode
        != 0,
        reason="needs root, and a kernel that lets it have namespaces",
    ),
]

SERVER = "#!/bin/sh\necho $JUPYTER_COMPUTE_SANDBOX_MACHINE >id\nexec python3 -m http.server 8786\n"


@pytest.fixture(scope="module")
def sandbox(shared_home):
    """A sandbox with namespaces."""
    own = Sandbox(Home(shared_home.path.parent), net="netns")
    yield own
    own.close()
    assert ip("netns", "list") == ""
    assert "172.31" not in ip("addr") + ip("route", "show", "type", "unreachable")


def ip(*words):
    """Return what the system says of its networks."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def reached(address):
    """Return what answers at the machine's port, empty if nothing."""
    try:
        with urllib.request.urlopen(f"http://{address}:8786/id", timeout=0.5) as answer:
            return answer.read().decode().strip()
    except OSError:
        return ""


def test_a_machine_is_reached_at_its_private_and_its_public_address_until_it_is_cut_off(sandbox):
    (made,) = sandbox.run(UserData=SERVER)
    name, private = made["InstanceId"], made["PrivateIpAddress"]
    found = sandbox.client("ec2").describe_instances(InstanceIds=[name])
    public = found["Reservations"][0]["Instances"][0]["PublicIpAddress"]
    assert private.startswith("172.31.")
    assert public.startswith("198.18.")
    wait(lambda: reached(private) == name)
    assert reached(public) == name
    sandbox.ask("cut", machine=name)
    assert reached(private) == ""
    sandbox.ask("heal", machine=name)
    wait(lambda: reached(private) == name)
    sandbox.client("ec2").terminate_instances(InstanceIds=[name])
    sandbox.wait_for(name, "terminated")
    assert name not in ip("netns", "list")


def test_a_machine_reaches_the_sandbox_and_nothing_else(sandbox):
    script = """#!/bin/sh
python3 - <<'EOF'
import os, socket, urllib.request
base = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
print("I am", urllib.request.urlopen(base + "/latest/meta-data/instance-id").read().decode())
for address in ("198.18.77.77", "203.0.113.1"):
    try:
        socket.create_connection((address, 80), timeout=1.5)
        print("reached", address)
    except OSError as error:
        print("not reached", address)
EOF
exec sleep 1000
"""
    (made,) = sandbox.run(UserData=script)
    name = made["InstanceId"]
    sandbox.wait_for(name, "running")

    def output():
        said = sandbox.client("ec2").get_console_output(InstanceId=name)["Output"]
        return said if said.count("reached") == 2 else ""

    said = wait(output)
    assert f"I am {name}" in said
    assert said.count("not reached") == 2


def test_a_machine_joins_the_pool_at_its_address_in_the_network(sandbox, monkeypatch):
    with sandbox.entered():
        monkeypatch.setenv("DASK_JUPYTER_COMPUTE__SCHEDULER_HOST", namespaces.GATEWAY)
        setup.run(yes=True, quiet=True)
        service = services.start()
        try:
            stream = services.submit("40 + 2", layer="ec2", cpu=1, memory=10**9)
            assert stream.until(kind="end")["state"] == "done"
        finally:
            services.hang_up()
            sandbox.home.stop_pool()
            service.wait(30)
    sandbox.reset()
