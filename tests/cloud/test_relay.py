"""Machines and a pool that meet at a relay, as a user and the account see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import services
from clouds import Cloud
from homes import Home
from kernels import Kernel, ok
from sandboxes import wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def far_cloud(shared_home: Home) -> Iterator[Cloud]:
    """A cloud whose machines call a relay."""
    own = Cloud(Home(shared_home.path.parent), "  scheduler: cloud\n")
    yield own
    with own.home.entered():
        own.stop()
    own.sandbox.close()
    own.home.close()


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


def test_a_cell_runs_on_a_machine_that_calls_a_relay(cloud: Cloud, kernel: Kernel) -> None:
    reply = ok(kernel.run("a = 41\n%compute sandbox"))
    reply = ok(kernel.run("%%remote --on ec2 --cpu 2 --memory 4G\nprint('out')\na + 1"))
    assert (reply.result, reply.stdout.strip()) == ("42", "out")
    print(reply.status_lines, cloud.log())
    assert any("starting the relay (t" in line for line in reply.status_lines)
    (relay,) = relays(cloud)
    (shown,) = [m for m in cloud.machines() if m["role"] == "relay"]
    assert shown["id"] == relay["id"]
