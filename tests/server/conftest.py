"""A Jupyter server in a home without a pool, for all tests that need no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from homes import Home
from jupyter_servers import JupyterServer


@pytest.fixture(scope="module")
def poolless(shared_home: Home) -> Iterator[Home]:
    """A home in which no pool runs."""
    home = Home(shared_home.path.parent)
    with home.entered():
        yield home
        home.close()


@pytest.fixture(scope="module")
def server(poolless: Home) -> Iterator[JupyterServer]:
    """A server in that home."""
    own = JupyterServer(poolless)
    yield own
    own.close()
