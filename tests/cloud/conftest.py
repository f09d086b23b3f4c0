"""A pool whose layers of AWS are a sandbox, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import services
from clouds import Cloud
from homes import Home
from kernels import Kernel


@pytest.fixture(scope="package")
def session_cloud(shared_home: Home) -> Iterator[Cloud]:
    """The cloud behind `cloud`."""
    own = Cloud(Home(shared_home.path.parent))
    yield own
    with own.home.entered():
        services.hang_up()
        own.home.stop_pool()
    own.sandbox.close()
    own.home.close()


@pytest.fixture
def cloud(session_cloud: Cloud) -> Iterator[Cloud]:
    """The shared cloud, with a pool and no machines."""
    with session_cloud.home.entered():
        session_cloud.start()
        yield session_cloud
        services.hang_up()
        services.ask("POST", "/v1/stop", {"force": True})
        session_cloud.sandbox.reset()


@pytest.fixture
def cloud_kernel(cloud: Cloud) -> Iterator[Kernel]:
    """A kernel that uses the cloud."""
    own = Kernel(cloud.home)
    assert own.run("%load_ext jupyter_compute").status == "ok"
    yield own
    own.close()
