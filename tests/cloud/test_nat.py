"""A notebook behind a router: one outbound port is all that machines take. Needs root."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import nat
import services
from homes import Home
from jupyter_compute.layers import setup
from jupyter_compute.relay import POOL_PORT
from jupyter_compute.sandbox import namespaces
from kernels import Kernel, ok
from sandboxes import Sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(namespaces.why_not())
        or subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode
        != 0,
        reason="needs root, and a kernel that lets it have namespaces",
    ),
]

PUBLIC = "198.18.0.0/15"

CODE = """
from jupyter_compute import remote

@remote(on="ec2", cpu=1, memory="1G")
def double(number):
    return 2 * number

sum(double.map(range(30)))
"""


@pytest.fixture
def sandbox(shared_home: Home) -> Iterator[Sandbox]:
    own = Sandbox(Home(shared_home.path.parent), net="netns")
    with own.entered():
        yield own
    own.close()


def test_cells_and_maps_run_on_machines_that_the_notebook_cannot_reach(sandbox: Sandbox) -> None:
    setup.run(yes=True, quiet=True)
    api = urlsplit(sandbox.state["endpoint"])
    name = f"jcnat{os.getpid()}"
    with nat.router(name, [PUBLIC, f"{api.hostname}/32"], [POOL_PORT, api.port]) as router:
        service = services.start((nat.PROGRAM, name))
        kernel = Kernel(sandbox.home)
        try:
            ok(kernel.run("%load_ext jupyter_compute\nimport numpy as np\na = np.arange(2e6)"))
            code = "%%remote --on ec2 --cpu 1 --memory 2G\nb = a + 1\nfloat(b.sum() - a.sum())"
            assert ok(kernel.run(code)).result == "2000000.0"
            assert ok(kernel.run("float((b - a).sum())")).result == "2000000.0"
            assert ok(kernel.run(CODE)).result == "870"
            # No machine, and the relay neither, is reached at its address in the network.
            for machine in sandbox.machines("running"):
                away = (machine["address"], 22)
                refused = router.inside(lambda away=away: socket.create_connection(away, 2))
                assert refused.errno == errno.ENETUNREACH
        finally:
            kernel.close()
            services.hang_up()
            sandbox.home.stop_pool()
            service.wait(30)
    out = {(host, port) for host, port in router.let_out if host != api.hostname}
    assert {port for _, port in out} == {POOL_PORT}
    assert len(out) == 1
    sandbox.reset()
