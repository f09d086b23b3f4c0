"""Machines in namespaces of their own: they can be cut off, and nothing leads out. Needs root."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import urllib.request
from urllib.parse import urlsplit

import pytest

import nat
import services
from clouds import HASTY
from homes import Home
from jupyter_compute.layers import setup
from jupyter_compute.relay import POOL_PORT
from jupyter_compute.sandbox import namespaces
from kernels import Kernel, ok
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

MAP = """
from jupyter_compute import remote

@remote(on="ec2", cpu=1, memory="1G")
def double(number):
    return 2 * number

sum(double.map(range(30)))
"""


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


CUT = """
import pathlib, time

def wait_for(name):
    while not (path / name).exists():
        time.sleep(0.05)

path = pathlib.Path({path!r})
with (path / "runs").open("a") as file:
    file.write("ran\\n")
wait_for("first cut")
print("while it was cut off", flush=True)
(path / "said").touch()
while (path / "runs").read_text().count("ran") < 2:
    time.sleep(0.05)
(path / "over").open("a").write("over\\n")
(path / "over").read_text()
"""


def test_row_14_a_machine_that_is_cut_off_goes_on_or_is_replaced_and_ends(
    sandbox, monkeypatch, tmp_path
):
    timers = {"list_s": 0.5, "lost_machine_s": 8.0, "sweep_first_s": 0.5, "tick_s": 0.3}
    with sandbox.entered():
        monkeypatch.setenv("DASK_JUPYTER_COMPUTE__SCHEDULER_HOST", namespaces.GATEWAY)
        setup.run(yes=True, quiet=True)
        service = services.start(HASTY, HASTY_TIMERS=json.dumps(timers), HASTY_DEATH="")
        try:
            lone = {"layer": "ec2", "cpu": 2, "memory": 10**9, "instances": ["c5.large"]}
            stream = services.submit(CUT.format(path=str(tmp_path)), **lone)
            stream.until(state="running")
            (first,) = sandbox.machines("running")
            sandbox.ask("cut", machine=first["id"])
            (tmp_path / "first cut").touch()
            wait((tmp_path / "said").exists)
            sandbox.ask("heal", machine=first["id"])
            assert stream.until(kind="stdout")["text"] == "while it was cut off\n"
            # Now for longer than a machine may be silent, and AWS does not end it either.
            sandbox.ask("fault", action="TerminateInstances", code="InternalError")
            sandbox.ask("cut", machine=first["id"])
            lost = stream.until(kind="attempt")
            assert (lost["n"], lost["outcome"]) == (1, "lost")
            end = stream.until(kind="end")
            assert (end["state"], end["receipt"]["attempts"]) == ("done", 2)
            wait(lambda: (tmp_path / "over").read_text().count("over") == 2)
            sandbox.ask("heal", machine=first["id"])
            found = sandbox.wait_for(first["id"], "terminated", 60)
            assert found["why"].startswith("Client.InstanceInitiatedShutdown")
            assert [event["kind"] for event in stream.events].count("end") == 1
            sandbox.ask("clear")
            alive = {machine["id"] for machine in sandbox.machines("running")}
            wait(lambda: alive == {m["id"] for m in status() if m["layer"] == "ec2"}, 30)
        finally:
            services.hang_up()
            sandbox.home.stop_pool()
            service.wait(30)
    sandbox.reset()


def status():
    """Return the machines that the pool has."""
    return services.ask("GET", "/v1/status").json["machines"]


def test_one_outbound_port_is_all_that_machines_take_of_a_client_behind_a_router(sandbox):
    with sandbox.entered():
        setup.run(yes=True, quiet=True)
        api, name = urlsplit(sandbox.state["endpoint"]), f"jcnat{os.getpid()}"
        world, ports = ["198.18.0.0/15", f"{api.hostname}/32"], [POOL_PORT, api.port]
        with nat.router(name, world, ports) as router:
            service = services.start((nat.PROGRAM, name))
            kernel = Kernel(sandbox.home)
            try:
                ok(kernel.run("%load_ext jupyter_compute\nimport numpy as np\na = np.arange(2e6)"))
                cell = "%%remote --on ec2 --cpu 1 --memory 2G\nb = a + 1\nfloat(b.sum() - a.sum())"
                assert ok(kernel.run(cell)).result == "2000000.0"
                assert ok(kernel.run("float((b - a).sum())")).result == "2000000.0"
                assert ok(kernel.run(MAP)).result == "870"
                # No machine, and the relay neither, is reached at its address in the network.
                machines = sandbox.machines("running")
                assert len(machines) > 1
                for machine in machines:
                    away = (machine["address"], 22)
                    refused = router.inside(lambda away=away: socket.create_connection(away, 2))
                    assert refused.errno == errno.ENETUNREACH
            finally:
                kernel.close()
                services.hang_up()
                sandbox.home.stop_pool()
                service.wait(30)
        ((_, port),) = {(host, port) for host, port in router.let_out if host != api.hostname}
        assert port == POOL_PORT
    sandbox.reset()
