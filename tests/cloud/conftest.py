"""A pool whose layers of AWS are a sandbox, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clouds import Cloud
from homes import Home
from kernels import Kernel


@pytest.fixture(scope="package")
def session_cloud(shared_home: Home) -> Iterator[Cloud]:
    """The cloud behind `cloud`."""
    own = Cloud(Home(shared_home.path.parent))
    yield own
    with own.home.entered():
        own.stop()
    own.sandbox.close()
    own.home.close()


@pytest.fixture
def cloud(session_cloud: Cloud) -> Iterator[Cloud]:
    """The shared cloud, with a pool and no machines."""
    with session_cloud.home.entered():
        session_cloud.start()
        yield session_cloud
        session_cloud.clear()


@pytest.fixture
def new_cloud(session_cloud: Cloud) -> Iterator[Cloud]:
    """The shared cloud, with a pool of the test's own."""
    with session_cloud.home.entered():
        session_cloud.stop()
        session_cloud.start()
        yield session_cloud
        session_cloud.stop()


@pytest.fixture
def cloud_kernel(cloud: Cloud) -> Iterator[Kernel]:
    """A kernel that uses the cloud."""
    own = Kernel(cloud.home)
    assert own.run("%load_ext jupyter_compute").status == "ok"
    yield own
    own.close()
