"""A pool whose layers of AWS are a sandbox, for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

import virtual
from clouds import Cloud, opened
from homes import Home
from jupyter_compute.layers import setup
from kernels import Kernel


@pytest.fixture(scope="module")
def shared_cloud(shared_home: Home) -> Iterator[Cloud]:
    """The cloud behind `cloud`."""
    with opened(shared_home) as own:
        yield own


@pytest.fixture
def cloud(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The shared cloud, with a pool and no machines."""
    with shared_cloud.home.entered():
        shared_cloud.start()
        yield shared_cloud
        shared_cloud.clear()


@pytest.fixture
def new_cloud(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The shared cloud, with a pool of the test's own."""
    with shared_cloud.home.entered():
        shared_cloud.stop()
        shared_cloud.start()
        yield shared_cloud
        shared_cloud.stop()


@pytest.fixture
def stopped(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud without a pool: the test starts one, which does not live long."""
    with shared_cloud.home.entered():
        shared_cloud.stop()
        yield shared_cloud
        shared_cloud.stop()


@pytest.fixture
def cloud_kernel(cloud: Cloud) -> Iterator[Kernel]:
    """A kernel that uses the cloud."""
    own = Kernel(cloud.home)
    assert own.run("%load_ext jupyter_compute").status == "ok"
    yield own
    own.close()


@pytest.fixture
def with_vms(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a layer `dcp` of dask-cloudprovider, and a pool of the test's own."""
    cloud = shared_cloud
    with cloud.home.entered():
        cloud.stop()
        with cloud.sandbox.entered():
            setup.run(yes=True, quiet=True)
        said = {"jupyter-compute": {"layers": {"dcp": virtual.on_sandbox(cloud.sandbox)}}}
        file = cloud.home.path / "dask" / "dcp.yaml"
        file.write_text(yaml.safe_dump(said))
        cloud.begin({})
        yield cloud
        cloud.stop()
        file.unlink()
