"""``%compute ask`` and ``%compute dashboard`` with mouse and keyboard, in JupyterLab."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from browsers import KEPT, LOAD, MS, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLEEP = "import time; time.sleep(600)"
WATCHERS = "sum(t.name == 'jupyter-compute-watch' for t in __import__('threading').enumerate())"


def shots(screen: Screen, name: str) -> None:
    """Keep pictures in both themes, if somebody wants to look at them."""
    if not KEPT:
        return
    for theme in ("Dark", "Light"):
        screen.theme(theme)
        screen.shot(f"{name}-{theme.lower()}")


def field(form: Locator, name: str) -> Locator:
    """Return the field of the form that has this label."""
    return form.get_by_label(name, exact=True)


def test_the_form_says_what_is_wrong_and_writes_the_line(screen: Screen) -> None:
    screen.open("ask.ipynb", [LOAD, "%compute ask", "'below'"])
    screen.run(0)
    screen.run(1)
    form = screen.cell(1).locator(".jc-ask")
    offer = form.locator(".jc-offer")
    expect(offer).to_contain_text("would run on local with 1 cpu 4 GB, at no cost", timeout=MS)
    memory = field(form, "memory")
    memory.click()
    screen.page.keyboard.type("64")
    problem = form.locator(".jc-problem-memory")
    expect(problem).to_have_text("--memory: '64' has no unit: 64 what? 64G or 64GiB")
    insert = form.get_by_role("button", name="Insert")
    expect(insert).to_be_disabled()
    expect(form.get_by_role("button", name="Use as default")).to_be_disabled()
    shots(screen, "ask-refused")
    memory.fill("500M")
    expect(problem).to_have_text("")
    screen.page.keyboard.press("Tab")
    field(form, "cpu").fill("0.5")
    expect(offer).to_contain_text("would run on local with 0.5 cpu 500 MB, at no cost")
    expect(form.locator(".jc-line")).to_have_text("%%remote --cpu 0.5 --memory 500M")
    shots(screen, "ask")
    insert.focus()
    screen.page.keyboard.press("Enter")
    expect(form.locator(".jc-said")).to_have_text("the line is in a new cell")
    assert screen.source(2) == "%%remote --cpu 0.5 --memory 500M\n"
    assert screen.source(3) == "'below'"
    screen.page.keyboard.type("6 * 7")
    screen.run(2)
    screen.wait_for_end(2)
    expect(screen.cell(2)).to_contain_text("42")


def test_the_dashboard_shows_and_cancels_a_run(screen: Screen) -> None:
    run = f"%%remote --cpu 1 --memory 500M --name endless\n{SLEEP}"
    cells = [LOAD, "%compute dashboard", run, "import time; time.sleep(8)", WATCHERS]
    screen.open("dashboard.ipynb", cells)
    for index in (0, 1):
        screen.run(index)
    board = screen.cell(1).locator(".jc-dashboard")
    expect(board).to_be_visible()
    screen.run(2)
    mine = board.locator("[data-run-id]").filter(has_text="endless")
    expect(mine).to_have_attribute("data-state", "running", timeout=MS)
    expect(screen.prompt(2)).to_have_text("[*]:")
    seen = set()
    for _ in range(8):
        screen.page.wait_for_timeout(500)
        seen.add(mine.locator("[data-value=elapsed]").inner_text())
    assert len(seen) >= 4, seen
    expect(screen.prompt(2)).to_have_text("[*]:")
    shots(screen, "dashboard")
    board.get_by_role("button", name="Cancel").click()
    screen.wait_for_end(2)
    expect(screen.cell(2)).to_contain_text("Cancelled: the run")
    expect(mine).to_have_attribute("data-state", "cancelled", timeout=MS)
    board.get_by_role("button", name="Stop", exact=True).click()
    expect(board).to_contain_text("Really stop?")
    shots(screen, "dashboard-stop")
    board.get_by_role("button", name="No", exact=True).click()
    expect(board).not_to_contain_text("Really stop?")

    # The kernel sleeps, and its thread does not.
    screen.run(3)
    beat = board.locator("[data-value=idle_s]")
    expect(screen.prompt(3)).to_have_text("[*]:")
    seen = {beat.inner_text() for _ in range(8) if screen.page.wait_for_timeout(500) is None}
    expect(screen.prompt(3)).to_have_text("[*]:")
    assert len(seen) >= 3, seen

    # Nobody sees it any more.
    screen.wait_for_end(3)
    screen.run(4)
    expect(screen.cell(4).locator(".jp-OutputArea-executeResult")).to_have_text(re.compile("1$"))
    screen.select(1)
    screen.execute("notebook:clear-cell-output")
    expect(board).to_have_count(0)
    screen.run(4)
    expect(screen.cell(4).locator(".jp-OutputArea-executeResult")).to_have_text(re.compile("0$"))


def test_the_dashboard_is_old_when_the_kernel_says_nothing(screen: Screen) -> None:
    run = f"%%remote --cpu 1 --memory 500M --name endless --bg run\n{SLEEP}"
    cells = [LOAD, run, "%compute dashboard", "sum(range(7 * 10**8))", "run.cancel()"]
    screen.open("old.ipynb", cells)
    for index in (0, 1, 2):
        screen.run(index)
    board = screen.cell(2).locator(".jc-dashboard")
    state = board.locator("[data-value=state]")
    expect(state).to_have_text("live", timeout=MS)
    expect(state).to_be_visible()
    screen.run(3)
    expect(board.get_by_text("nothing came from the kernel")).to_be_visible(timeout=20_000)
    expect(state).not_to_be_visible()
    screen.shot("dashboard-old")
    screen.wait_for_end(3)
    expect(board).to_contain_text("The kernel was busy: nothing was seen for")
    expect(state).to_be_visible()
    screen.run(4)
    screen.wait_for_end(4)
