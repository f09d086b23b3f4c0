"""What the panel costs the browser, and that it costs nothing where nobody sees it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from browsers import LOAD, PATIENCE_S, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MS = PATIENCE_S * 1000
WINDOW_S = 10
SLEEP = "%%remote --cpu 1 --memory 500M --name sleeps --bg run\nimport time; time.sleep(600)"


def cpu_s(page: Page) -> float:
    """Return the CPU seconds that the tab's main thread has taken so far."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    metrics = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def used_in_window(screen: Screen) -> float:
    """Return the share of a core that the tab takes."""
    before = cpu_s(screen.page)
    screen.page.wait_for_timeout(WINDOW_S * 1000)
    return (cpu_s(screen.page) - before) / WINDOW_S


def test_a_panel_costs_little_in_sight_and_nothing_out_of_sight(screen: Screen) -> None:
    screen.open("load.ipynb", [LOAD, SLEEP])
    panel = screen.open_panel()
    screen.run(0)
    screen.run(1)
    expect(panel.locator("li[data-run-id]")).to_have_attribute("data-state", "running", timeout=MS)
    screen.wait_for_end(1)
    asked: list[str] = []
    screen.page.on(
        "request", lambda request: "jupyter-compute/" in request.url and asked.append(request.url)
    )
    screen.page.wait_for_timeout(3000)
    asked.clear()
    visible = used_in_window(screen)
    assert WINDOW_S * 0.7 <= len(asked) <= WINDOW_S * 1.3

    panel.locator("[data-command=cancel]").click()
    expect(panel.locator("li[data-run-id]")).to_have_attribute(
        "data-state", "cancelled", timeout=MS
    )
    screen.page.locator('.jp-SideBar [data-id="jupyter-compute-panel"]').click()
    expect(panel).not_to_be_visible()
    screen.page.wait_for_timeout(1500)
    asked.clear()
    hidden = used_in_window(screen)
    assert asked == []
    assert visible - hidden < 0.02, f"in sight {visible:.4f}, out of sight {hidden:.4f} of a core"

    # Back in sight it is not taken for live before it is.
    screen.watch("[data-value=state]")
    screen.execute("jupyter-compute:open-panel")
    expect(panel).to_have_attribute("data-state", "live", timeout=MS)
    assert screen.seen()["states"][-2:] in (["connecting", "live"], ["live"])
