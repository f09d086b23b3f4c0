"""One JupyterLab, one browser and one page for all tests here; a pool of their own comes with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browsers import Screen, Server, chromium
from homes import Home


@pytest.fixture(scope="package")
def lab_home(shared_home: Home) -> Iterator[Home]:
    """The home of the server; its pool is stopped at the end, and nothing may be left."""
    own = Home(shared_home.path.parent)
    with own.entered():
        yield own
        own.close()


@pytest.fixture(scope="package")
def server(lab_home: Home) -> Iterator[Server]:
    """A running JupyterLab."""
    own = Server(lab_home)
    yield own
    own.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. Not for the whole session: while it runs, this thread has an event loop."""
    with chromium() as own:
        yield own


@pytest.fixture(scope="package")
def window(server: Server, browser: Browser) -> Iterator[Screen]:
    """The page that all tests share, as loading JupyterLab takes longer than most of them."""
    own = Screen(server, browser)
    yield own
    own.close()


@pytest.fixture
def screen(window: Screen, request: pytest.FixtureRequest) -> Iterator[Screen]:
    """JupyterLab in a browser; nothing may have gone wrong in it at the end."""
    window.errors.clear()
    failed = request.session.testsfailed
    yield window
    window.tidy(afresh=request.session.testsfailed > failed)
    assert window.errors == []
