"""What the panel says when there is nothing to show, or nothing new."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

import services
from browsers import LOAD, MS, PATIENCE_S, Screen, Server
from homes import Home
from jupyter_compute import places

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUN = "%%remote --cpu 1 --memory 500M --name one\n6 * 7"


def service() -> int:
    """Return the process id of the pool service."""
    return int(services.ask("GET", "/v1/info").json["pid"])


def notice(screen: Screen) -> Locator:
    """Return the sentence that says what to do."""
    return screen.panel.locator("[data-value=notice]")


@pytest.fixture
def no_pool(lab_home: Home) -> Iterator[None]:
    """A home that has no pool and never had one; one that the test starts is stopped after it."""
    lab_home.stop_pool()
    services.wait_until(lambda: not _services(lab_home))
    places.journal().unlink(missing_ok=True)
    yield
    lab_home.stop_pool()
    services.wait_until(lambda: not _services(lab_home))


def test_from_no_pool_to_empty_to_live_and_back(screen: Screen, no_pool: None) -> None:
    screen.open("states.ipynb", [LOAD, RUN])
    panel = screen.open_panel()
    expect(panel).to_have_attribute("data-state", "no-pool", timeout=MS)
    expect(notice(screen)).to_contain_text("%%remote")
    screen.shot("state-no-pool")

    process = services.start()
    expect(panel).to_have_attribute("data-state", "empty", timeout=MS)
    expect(panel.locator("[data-section=runs]")).to_contain_text("Nothing has run yet")
    screen.shot("state-empty")

    screen.run(0)
    screen.run(1)
    expect(panel).to_have_attribute("data-state", "live", timeout=MS)

    screen.wait_for_end(1)
    screen.watch()
    panel.locator("[data-command=stop-pool]").click()
    dialog = screen.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("Stop the pool")
    dialog.get_by_role("button", name="Cancel").click()
    expect(panel).to_have_attribute("data-state", "live")
    panel.locator("[data-command=stop-pool]").click()
    screen.page.locator(".jp-Dialog").get_by_role("button", name="Stop").click()
    expect(panel).to_have_attribute("data-state", "no-pool", timeout=MS)
    assert screen.seen()["state"]["texts"] == ["live", "stopping", "no-pool"]
    assert process.wait(PATIENCE_S) == 0


def test_looking_starts_no_pool(screen: Screen, no_pool: None) -> None:
    screen.open("looking.ipynb", ["1"])
    panel = screen.open_panel()
    expect(panel).to_have_attribute("data-state", "no-pool", timeout=MS)
    screen.select(0)
    screen.execute("jupyter-compute:run-cell-remotely")
    dialog = screen.page.locator(".jc-Dialog")
    expect(dialog.locator("[data-value=offer]")).to_contain_text("once a pool is running")
    dialog.get_by_role("button", name="Cancel").click()
    assert _services(screen.server.home) == set()


def _services(home: Home) -> set[int]:
    return {pid for pid, line in home.processes().items() if "jupyter_compute.pool" in line}


def test_a_killed_pool_is_stale_within_5_s_and_comes_back(
    screen: Screen, no_pool: None, lab_home: Home
) -> None:
    again = RUN.replace("one", "another")
    screen.open("killed.ipynb", [LOAD, RUN, "import time; time.sleep(60)", again])
    panel = screen.open_panel()
    screen.run(0)
    screen.run(1)
    expect(screen.row("one")).to_have_attribute("data-state", "done", timeout=MS)
    screen.wait_for_end(1)
    screen.run(2)
    expect(screen.prompt(2)).to_have_text("[*]:")
    screen.watch(2)
    pid = service()
    os.kill(pid, signal.SIGKILL)
    expect(panel).to_have_attribute("data-state", "stale", timeout=5000)
    expect(notice(screen)).to_contain_text("Last heard")
    first = notice(screen).inner_text()
    expect(notice(screen)).not_to_have_text(first)
    screen.shot("state-stale")
    seen = screen.seen()
    assert seen["state"]["texts"] == ["live", "stale"]
    assert seen["prompt"]["texts"] == ["[*]:"]

    # The next cell starts a new pool, which knows what has been.
    screen.execute("notebook:interrupt-kernel")
    screen.wait_for_end(2)
    screen.run(3)
    expect(screen.row("another")).to_have_attribute("data-state", "done", timeout=MS)
    expect(screen.row("one")).to_have_attribute("data-state", "done")
    assert panel.get_attribute("data-state") == "live"
    assert service() != pid


def test_a_pool_that_hangs_is_stale_not_live(screen: Screen, no_pool: None) -> None:
    screen.open("hangs.ipynb", [LOAD, RUN])
    panel = screen.open_panel()
    screen.run(0)
    screen.run(1)
    screen.wait_for_end(1)
    expect(panel).to_have_attribute("data-state", "live", timeout=MS)
    pid = service()
    os.kill(pid, signal.SIGSTOP)
    try:
        expect(panel).to_have_attribute("data-state", "stale", timeout=5000)
        screen.page.reload()
        screen.wait_for_kernel()
        expect(panel).to_have_attribute("data-state", "connecting", timeout=MS)
        # The server does not wait for ever either.
        expect(notice(screen)).to_contain_text("does not answer", timeout=MS)
    finally:
        os.kill(pid, signal.SIGCONT)
    expect(panel).to_have_attribute("data-state", "live", timeout=MS)
    # What the browser itself logs of a request that was given up is no error of the page.
    screen.errors[:] = [text for text in screen.errors if "/jupyter-compute/state" not in text]


def test_a_pool_that_died_before_the_page_came_is_an_error_with_the_next_step(
    screen: Screen, no_pool: None
) -> None:
    screen.open("died.ipynb", [LOAD, RUN])
    services.kill(services.start())
    screen.page.reload()
    screen.wait_for_kernel()
    panel = screen.open_panel()
    expect(panel).to_have_attribute("data-state", "error", timeout=MS)
    expect(notice(screen)).to_contain_text("the next cell starts it again")
    screen.shot("state-error")
    screen.run(0)
    screen.run(1)
    expect(panel).to_have_attribute("data-state", "live", timeout=MS)


def test_without_the_server_extension_it_says_so(shared_home: Home, browser: Browser) -> None:
    own = Home(shared_home.path.parent)
    with own.entered():
        options = ["--ServerApp.jpserver_extensions=jupyter_compute=False"]
        server = Server(own, options=options)
        try:
            screen = Screen(server, browser)
            screen.open("without.ipynb", ["1"])
            panel = screen.open_panel()
            expect(panel).to_have_attribute("data-state", "no-server", timeout=MS)
            expect(notice(screen)).to_contain_text("jupyter server extension list")
            screen.shot("state-no-server")
            screen.close()
        finally:
            server.close()
            own.close()
