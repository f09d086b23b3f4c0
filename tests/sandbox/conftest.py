"""One sandbox for all tests of this directory, with nothing in it when a test begins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from homes import Home
from sandboxes import Sandbox


@pytest.fixture(scope="session")
def session_sandbox(shared_home: Home) -> Iterator[Sandbox]:
    """The sandbox behind `sandbox`."""
    own = Sandbox(Home(shared_home.path.parent), clock_rate=60.0)
    yield own
    own.close()


@pytest.fixture
def sandbox(session_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The shared sandbox, without machines, faults and limits."""
    yield session_sandbox
    session_sandbox.reset()
