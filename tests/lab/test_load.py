"""What the panel costs the browser and the server, and that it costs nothing where nobody sees it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Request, expect

from browsers import LOAD, MS, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POLLS = 5
SLEEP = "%%remote --cpu 1 --memory 500M --name sleeps\nimport time; time.sleep(600)"
# Chromium without a display takes every page for visible, whatever is in front of it.
HIDE = """hidden => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
    const state = hidden ? 'hidden' : 'visible';
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


class Traffic:
    """What a page asks this extension for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[Request] = []
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if "/jupyter-compute/" in request.url:
            self.requests.append(request)


def cpu_s(page: Page) -> float:
    """Return the CPU seconds that the tab's main thread has taken so far."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    metrics = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def pass_window(screen: Screen, *pages: Traffic) -> list[int]:
    """Return the bytes of the answers to the last tab, which end the window by their number.

    All that the server has answered must have been asked by one of the tabs.
    """
    screen.page.wait_for_timeout(1500)  # for what is on its way
    for page in pages:
        page.requests.clear()
    before, sizes = screen.server.answered(), []
    for _ in range(POLLS):
        with pages[-1].page.expect_response("**/jupyter-compute/state*") as answer:
            pass
        sizes.append(len(answer.value.body()))
    asked = sum(len(page.requests) for page in pages)
    assert abs(screen.server.answered() - before - asked) <= len(pages)
    return sizes


def test_a_panel_costs_little_in_sight_and_nothing_out_of_sight(screen: Screen) -> None:
    screen.open("load.ipynb", [LOAD, SLEEP])
    panel = screen.open_panel()
    screen.run(0)
    screen.run(1)
    expect(screen.row("sleeps")).to_have_attribute("data-state", "running", timeout=MS)
    mine = Traffic(screen.page)
    screen.watch(1)
    used = cpu_s(screen.page)
    sizes = pass_window(screen, mine)
    visible = cpu_s(screen.page) - used
    seen = screen.seen()
    assert seen["prompt"]["texts"] == ["[*]:"]
    # One small answer a second.
    assert sum(seen["state"]["gaps"]) >= len(mine.requests) * 0.9
    assert max(sizes) < 2000, sizes

    with screen.second_tab() as page:
        screen.go("lab/workspaces/looks-on")
        screen.open_panel()
        expect(screen.panel).to_have_attribute("data-state", "live", timeout=MS)
        other = Traffic(screen.page)

        # The page is hidden while the run goes on.
        page.evaluate(HIDE, True)
        used = cpu_s(page)
        pass_window(screen, mine, other)
        assert mine.requests == []
        hidden = cpu_s(page) - used
        share = (visible - hidden) / sum(seen["state"]["gaps"])
        assert share < 0.02, f"in sight {visible:.3f} s, hidden {hidden:.3f} s"
        assert page.evaluate("() => window.jcSeen().prompt.texts") == ["[*]:"]

        # Back in sight it is not taken for live before it is.
        page.evaluate(HIDE, False)
        expect(page.locator("#jupyter-compute-panel[data-state=live]")).to_be_visible(timeout=MS)
        states = page.evaluate("() => window.jcSeen().state.texts")
        assert states[-2:] == ["connecting", "live"], states
        screen.cancel("sleeps")

        # Nothing runs, and the side is closed.
        page.evaluate("() => window.jupyterapp.shell.collapseRight()")
        pass_window(screen, mine, other)
        assert mine.requests == []
    screen.wait_for_end(1)
    expect(panel).not_to_be_visible()
