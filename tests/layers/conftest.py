"""Layers to be tested: this computer, and those of AWS on one sandbox for all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from homes import Home
from jupyter_compute.layers import setup
from sandboxes import Sandbox


@pytest.fixture(scope="session")
def session_sandbox(shared_home: Home) -> Iterator[Sandbox]:
    """The sandbox behind `sandbox`."""
    own = Sandbox(Home(shared_home.path.parent), clock_rate=20.0)
    yield own
    own.close()


@pytest.fixture
def sandbox(session_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The shared sandbox, whose machines have nothing to do and stay until they are ended."""
    session_sandbox.ask("boot-fail", count=-1)
    with session_sandbox.entered():
        yield session_sandbox
    session_sandbox.reset()


@pytest.fixture(scope="session")
def set_up(session_sandbox: Sandbox) -> None:
    """What `setup aws` makes is there."""
    with session_sandbox.entered():
        setup.run(yes=True, quiet=True)


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Call a function with each of the arguments, all at the same time."""

    def call(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(len(arguments)) as threads:
            return list(threads.map(function, arguments))

    return call
