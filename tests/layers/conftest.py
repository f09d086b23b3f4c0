"""Layers to be tested: this computer, and those of AWS on one sandbox for all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.config
import pytest

import virtual
from buckets import reach, serve
from homes import Home
from jupyter_compute import settings
from jupyter_compute.layers import setup
from jupyter_compute.layers.aws import Account
from sandboxes import Sandbox


@pytest.fixture(scope="session", autouse=True)
def defaults(shared_home: Home) -> None:
    """The defaults are there before a test sets something on top of them."""
    settings.get("layer")


@pytest.fixture(scope="session")
def session_sandbox(shared_home: Home) -> Iterator[Sandbox]:
    """The sandbox behind `sandbox`."""
    own = Sandbox(Home(shared_home.path.parent), boot_delay_s=86400.0)
    yield own
    own.close()


@pytest.fixture
def sandbox(session_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The shared sandbox. Its machines take a day to boot: they only are there."""
    with session_sandbox.entered():
        yield session_sandbox
    session_sandbox.reset()


@pytest.fixture(scope="session")
def set_up(session_sandbox: Sandbox) -> None:
    """What `setup aws` makes is there."""
    with session_sandbox.entered():
        setup.run(yes=True, quiet=True)


server = pytest.fixture(scope="module")(serve)
line = pytest.fixture(reach)


@pytest.fixture(scope="session")
def session_account(set_up: None) -> Account:
    """The account behind `account`: clients take a while to be made."""
    return Account()


@pytest.fixture
def account(sandbox: Sandbox, session_account: Account) -> Account:
    """An account of the shared sandbox, in which `setup aws` has been run."""
    return session_account


@pytest.fixture
def no_settings_written(shared_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What dask-cloudprovider writes when it is imported goes into the home of the tests."""
    monkeypatch.setattr("dask.config.PATH", str(shared_home.path / "dask"))


@pytest.fixture
def dcp(sandbox: Sandbox, account: Account, no_settings_written: None) -> Iterator[None]:
    """The layer `dcp` is configured: dask-cloudprovider's class for EC2, on the sandbox."""
    with dask.config.set({"jupyter-compute.layers.dcp": virtual.on_sandbox(sandbox)}):
        yield


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Call a function with each of the arguments, all at the same time."""

    def call(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(len(arguments)) as threads:
            return list(threads.map(function, arguments))

    return call
