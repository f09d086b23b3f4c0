"""One JupyterLab and one browser for each module; a pool of its own comes with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browsers import Screen, Server, chromium
from homes import Home


@pytest.fixture(scope="module")
def lab_home(shared_home: Home) -> Iterator[Home]:
    """The home of a module's server; its pool is stopped at the end, and nothing may be left."""
    own = Home(shared_home.path.parent)
    with own.entered():
        yield own
        own.close()


@pytest.fixture(scope="module")
def server(lab_home: Home) -> Iterator[Server]:
    """A running JupyterLab."""
    own = Server(lab_home)
    yield own
    own.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not for the whole session: while it runs, this thread has an event loop."""
    with chromium() as own:
        yield own


@pytest.fixture
def screen(server: Server, browser: Browser) -> Iterator[Screen]:
    """A tab with JupyterLab, closed at the end; nothing may have gone wrong in it."""
    own = Screen(server, browser)
    yield own
    own.close()
    assert own.errors == []
