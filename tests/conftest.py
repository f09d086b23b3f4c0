"""Fixtures for every test, and the check that tests leave nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import homes
from division import Division, longest_first
from homes import Home
from kernels import Kernel

# The same examples every time: a check that fails now and then helps nobody who is at something else.
settings.register_profile(
    "same", derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")

# A shell has its background jobs ignore interrupts; tests send themselves some.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Division:
    """Divide the tests among processes, if there are several."""
    return Division(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, if there are several processes."""
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items)


@pytest.fixture(scope="session", autouse=True)
def shared_home() -> Iterator[Home]:
    """The home of the whole test session: no test ever sees the real one."""
    root = homes.new_root()
    home = Home(root)
    with home.entered():
        yield home
        home.close()
    left = homes.marked_processes(root)
    assert not left, f"left behind at the end: {left}"


@pytest.fixture
def home(shared_home: Home) -> Iterator[Home]:
    """A home of the test's own; its pool is stopped at the end, and nothing may be left."""
    own = Home(shared_home.path.parent)
    with own.entered():
        yield own
        own.close()


@pytest.fixture
def kernel(home: Home) -> Iterator[Kernel]:
    """A kernel of the test's own, in a home of the test's own."""
    own = Kernel(home)
    yield own
    own.close()


@pytest.fixture(scope="session")
def session_kernel(shared_home: Home) -> Iterator[Kernel]:
    """The kernel behind `shared_kernel`."""
    own = Kernel(shared_home)
    yield own
    own.close()


@pytest.fixture
def shared_kernel(session_kernel: Kernel) -> Kernel:
    """A kernel with the extension loaded and no names, for tests that harm neither it nor its pool."""
    cleared = session_kernel.run("%reset -f\n%load_ext jupyter_compute")
    assert cleared.status == "ok", cleared
    return session_kernel


@pytest.fixture
def root() -> Path:
    """The directory of the project."""
    return Path(__file__).parent.parent
