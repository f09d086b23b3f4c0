"""The panel beside real cells: what it shows while they run, and what it can do to them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from browsers import LOAD, PATIENCE_S, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MS = PATIENCE_S * 1000
WINDOW_S = 6.0
SPIN = """\
import time
held = bytearray()
for _ in range(300):
    held += bytearray(1_000_000)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        sum(range(10_000))
    time.sleep(1)"""
BUSY = {
    "sleep": "import time; time.sleep(25)",
    "python": "import time\nend = time.monotonic() + 25\nwhile time.monotonic() < end: pass",
    # One call of a C function, which does not give way to any other thread of the kernel.
    "c": "sum(range(10**9))",
}


def row(screen: Screen, name: str) -> Locator:
    """Return the row of a run by the run's name."""
    return screen.panel.locator("li[data-run-id]").filter(
        has=screen.page.get_by_role("button", name=name, exact=True)
    )


@pytest.mark.parametrize("kind", BUSY)
def test_numbers_go_on_changing_while_the_kernel_is_busy(screen: Screen, kind: str) -> None:
    name = f"beside-{kind}"
    cell = f"%%remote --cpu 1 --memory 500M --name {name} --bg spin\n{SPIN}"
    screen.open(f"{name}.ipynb", [LOAD, cell, BUSY[kind]])
    screen.open_panel()
    screen.run(0)
    screen.run(1)
    mine = row(screen, name)
    expect(mine).to_have_attribute("data-state", "running", timeout=MS)
    screen.wait_for_end(1)
    screen.run(2)
    expect(screen.prompt(2)).to_have_text("[*]:")
    screen.page.wait_for_timeout(1000)
    run_id = mine.get_attribute("data-run-id")
    screen.watch(f"[data-run-id={run_id}] [data-value=elapsed]")
    used = set()
    for _ in range(int(WINDOW_S * 2)):
        screen.page.wait_for_timeout(500)
        used.add(mine.locator("[data-value=cpu_used]").inner_text())
        used.add(mine.locator("[data-value=memory_used]").inner_text())
    seen = screen.seen()
    screen.shot(f"beside-{kind}")
    assert screen.prompt(2).inner_text() == "[*]:", "the kernel was not busy all the time"
    assert seen["states"] == ["live"]
    assert len(seen["texts"]) >= WINDOW_S * 0.7, seen
    assert max(seen["gaps"]) < 2.5, seen
    assert len(used) >= 4, used
    screen.execute("kernelmenu:interrupt")
    mine.locator("[data-command=cancel]").click()
    expect(mine).to_have_attribute("data-state", "cancelled", timeout=MS)


def test_a_queued_run_says_why_it_waits(screen: Screen) -> None:
    first = f"%%remote --cpu 500 --memory 500M --name holds --bg a\n{SPIN}"
    second = f"%%remote --cpu 500 --memory 500M --name waits --bg b\n{SPIN}"
    screen.open("queue.ipynb", [LOAD, first, second])
    screen.open_panel()
    for index in range(3):
        screen.run(index)
        screen.wait_for_end(index)
    holds, waits = row(screen, "holds"), row(screen, "waits")
    expect(holds).to_have_attribute("data-state", "running", timeout=MS)
    expect(waits).to_have_attribute("data-state", "queued", timeout=MS)
    expect(waits.locator("[data-value=reason]")).not_to_be_empty(timeout=MS)
    screen.shot("queued")
    waits.locator("[data-command=cancel]").click()
    expect(waits).to_have_attribute("data-state", "cancelled", timeout=MS)
    holds.locator("[data-command=cancel]").click()
    expect(holds).to_have_attribute("data-state", "cancelled", timeout=MS)


def test_cancel_ends_the_run_and_the_cell_raises(screen: Screen) -> None:
    cell = f"%%remote --cpu 1 --memory 500M --name endless\n{SPIN}"
    screen.open("cancel.ipynb", [LOAD, cell])
    screen.open_panel()
    screen.run(0)
    screen.run(1)
    mine = row(screen, "endless")
    expect(mine).to_have_attribute("data-state", "running", timeout=MS)
    assert screen.prompt(1).inner_text() == "[*]:"
    mine.locator("[data-command=cancel]").click()
    screen.wait_for_end(1)
    expect(screen.cell(1)).to_contain_text("Cancelled: the run")
    expect(mine).to_have_attribute("data-state", "cancelled", timeout=MS)


def test_history_outlives_restart_and_reload_and_is_the_same_in_a_second_tab(
    screen: Screen,
) -> None:
    cell = "%%remote --cpu 1 --memory 500M --name kept\n6 * 7"
    screen.open("history.ipynb", [LOAD, cell])
    panel = screen.open_panel()
    screen.run(0)
    screen.run(1)
    mine = row(screen, "kept")
    expect(mine).to_have_attribute("data-state", "done", timeout=MS)
    screen.wait_for_end(1)
    receipt = mine.locator(".jc-Words").inner_text()
    assert "500 MB" in receipt

    screen.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
    )
    screen.wait_for_kernel()
    assert mine.locator(".jc-Words").inner_text() == receipt

    panel.locator("[data-section=machines] button[aria-expanded]").click()
    screen.page.wait_for_timeout(1500)  # JupyterLab saves its layout after a second
    screen.page.reload()
    screen.wait_for_kernel()
    expect(screen.panel).to_be_visible()
    expect(mine.locator(".jc-Words")).to_have_text(receipt, timeout=MS)
    collapsed = screen.panel.locator("[data-section=machines] button[aria-expanded]")
    expect(collapsed).to_have_attribute("aria-expanded", "false")
    collapsed.press("Enter")
    expect(collapsed).to_have_attribute("aria-expanded", "true")

    first, screen.page = screen.page, screen.new_page()
    screen.page.goto(screen.url("lab/workspaces/second"))
    screen.page.wait_for_function("!!window.jupyterapp?.shell")
    screen.page.evaluate("() => window.jupyterapp.restored")
    screen.open_panel()
    expect(mine.locator(".jc-Words")).to_have_text(receipt, timeout=MS)
    first.close()


def test_a_click_goes_to_the_cell(screen: Screen) -> None:
    filler = [f"# {number}\n" * 12 for number in range(12)]
    cell = "%%remote --cpu 1 --memory 500M --name here\n6 * 7"
    screen.open("far.ipynb", [LOAD, *filler, cell])
    screen.open_panel()
    screen.run(0)
    screen.run(len(filler) + 1)
    expect(row(screen, "here")).to_have_attribute("data-state", "done", timeout=MS)
    screen.select(0)
    screen.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(0)")
    row(screen, "here").locator("[data-command=goto]").click()
    active = screen.page.locator(".jp-Cell.jp-mod-active")
    expect(active).to_contain_text("--name here")
    expect(active).to_be_in_viewport()


def test_the_status_bar_item_opens_the_panel(screen: Screen) -> None:
    cell = f"%%remote --cpu 1 --memory 500M --name glance --bg spin\n{SPIN}"
    screen.open("status.ipynb", [LOAD, cell])
    screen.run(0)
    screen.run(1)
    item = screen.page.locator("[data-jupyter-compute=status]")
    expect(item).to_contain_text("1 run", timeout=MS)
    expect(screen.panel).not_to_be_visible()
    item.focus()
    item.press("Enter")
    expect(screen.panel).to_be_visible()
    row(screen, "glance").locator("[data-command=cancel]").click()
    expect(row(screen, "glance")).to_have_attribute("data-state", "cancelled", timeout=MS)
    expect(item).to_contain_text("idle", timeout=MS)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_it_is_usable_at_200_pixels_in_both_themes(screen: Screen, theme: str) -> None:
    name = f"a-run-with-a-long-name-{theme}".replace(" ", "-")
    cell = f"%%remote --cpu 1 --memory 500M --name {name} --bg spin\n{SPIN}"
    screen.open("narrow.ipynb", [LOAD, cell])
    panel = screen.open_panel()
    screen.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    screen.run(0)
    screen.run(1)
    mine = row(screen, name)
    expect(mine).to_have_attribute("data-state", "running", timeout=MS)
    expect(mine.locator("[data-value=cpu_used]")).not_to_contain_text("\N{EN DASH}")
    screen.page.wait_for_timeout(2000)
    screen.shot(f"panel-{theme.split()[1].lower()}")
    wide = panel.evaluate(
        "panel => { Object.assign(panel.style, { width: '200px', minWidth: 0 });"
        " return Math.max(...[...panel.querySelectorAll('*')].map("
        "e => e.getBoundingClientRect().right)) - panel.getBoundingClientRect().left; }"
    )
    screen.shot(f"panel-narrow-{theme.split()[1].lower()}")
    assert wide <= 200
    back, front = panel.evaluate(
        "panel => { const style = getComputedStyle(panel);"
        " return [style.backgroundColor, style.color].map(c => c.match(/\\d+/g).map(Number)); }"
    )
    assert (sum(back[:3]) < sum(front[:3])) == theme.endswith("Dark")
    mine.locator("[data-command=cancel]").click()
    expect(mine).to_have_attribute("data-state", "cancelled", timeout=MS)
