"""Notebook 7: the same panel, which comes from the command palette, and the widgets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from browsers import LOAD, PATIENCE_S, Screen, Server
from homes import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MS = PATIENCE_S * 1000
SLEEP = "%%remote --cpu 1 --memory 500M --name seven --bg run\nimport time; time.sleep(600)"


@pytest.fixture(scope="module")
def server(lab_home: Home) -> Iterator[Server]:
    """A running Notebook 7."""
    own = Server(lab_home, "notebook")
    yield own
    own.close()


def test_notebook_7_has_the_panel_and_the_widgets_too(screen: Screen) -> None:
    screen.write("seven.ipynb", [LOAD, SLEEP, "%compute ask --cpu 0.5", "%compute dashboard"])
    screen.page.goto(screen.url("notebooks/seven.ipynb"))
    screen.wait_for_kernel()
    panel = screen.open_panel()
    expect(panel).to_have_attribute("data-state", "no-pool", timeout=MS)
    screen.run(0)
    screen.run(1)
    mine = panel.locator("li[data-state=running]")
    expect(mine).to_contain_text("seven", timeout=MS)
    screen.shot("notebook-7")
    screen.run(2)
    form = screen.cell(2).locator(".jc-ask")
    form.get_by_role("button", name="Insert").click()
    expect(form.locator(".jc-said")).to_have_text("the line is in a new cell")
    assert screen.source(3) == "%%remote --cpu 0.5\n"
    screen.run(4)
    board = screen.cell(4).locator(".jc-dashboard")
    expect(board.locator("[data-run-id]")).to_contain_text("seven", timeout=MS)
    screen.shot("notebook-7-widgets")
    mine.locator("[data-command=cancel]").click()
    expect(board.locator("[data-run-id]")).to_have_attribute("data-state", "cancelled", timeout=MS)
    expect(panel.locator("li[data-state=running]")).to_have_count(0, timeout=MS)
    # Notebook 7.6 has an error of its own at start, with this extension disabled too.
    screen.errors[:] = [text for text in screen.errors if "jupyter-compute" in text]
