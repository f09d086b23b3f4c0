"""Using the panel: by keyboard, at any width, in both themes, on either side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from browsers import LOAD, MS, SPIN, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run_in_background(screen: Screen, name: str) -> Locator:
    """Open a notebook, and wait until its run is running; return the run's row."""
    cell = f"%%remote --cpu 1 --memory 500M --name {name} --bg spin\n{SPIN}"
    screen.open("use.ipynb", [LOAD, cell])
    screen.open_panel()
    screen.run(0)
    screen.run(1)
    expect(screen.row(name)).to_have_attribute("data-state", "running", timeout=MS)
    screen.wait_for_end(1)
    return screen.row(name)


def test_everything_can_be_done_by_keyboard(screen: Screen) -> None:
    mine = run_in_background(screen, "keys")
    screen.page.evaluate("() => window.jupyterapp.shell.collapseRight()")
    item = screen.page.locator("[data-jupyter-compute=status]")
    expect(item).to_contain_text("1 run", timeout=MS)
    expect(screen.panel).not_to_be_visible()
    item.focus()
    screen.page.keyboard.press("Enter")
    expect(screen.panel).to_be_visible()

    screen.panel.locator("button").first.focus()
    reached = [_focused(screen)]
    while len(reached) < 300 and reached[-1] is not None:
        screen.page.keyboard.press("Tab")
        reached.append(_focused(screen))
    # In the order in which it is shown, and nothing but what can be used.
    first = [
        *("refresh", "stop-pool", "settings", "now"),
        *("runs", "goto", "copy", "attach", "cancel"),
    ]
    assert reached[: len(first)] == first
    last = ["machines", "stop", "cost"]
    assert [name for name in reached if name in last] == last
    buttons = screen.panel.locator("button:visible, input:visible, select:visible")
    assert len(reached) - 1 == buttons.count()

    runs = screen.panel.locator("[data-section=runs] button[aria-expanded]")
    runs.focus()
    for key, expanded in (("Enter", "false"), ("Space", "true")):
        screen.page.keyboard.press(key)
        expect(runs).to_have_attribute("aria-expanded", expanded)
        expect(mine).to_have_count(int(expanded == "true"))
    mine.locator("[data-command=cancel]").focus()
    screen.page.keyboard.press("Enter")
    expect(mine).to_have_attribute("data-state", "cancelled", timeout=MS)
    expect(item).to_contain_text("idle", timeout=MS)

    _stop_the_machine(screen)


def _stop_the_machine(screen: Screen) -> None:
    """Stop it by keyboard, at the second thought: at first nothing is sent to the server."""
    machine = screen.panel.locator("[data-machine-id]")
    dialog = screen.page.locator(".jp-Dialog")
    orders: list[str] = []
    screen.page.on("request", lambda sent: "/stop" in sent.url and orders.append(sent.url))
    for key in ("Escape", "Enter"):
        machine.locator("[data-command=stop]").focus()
        screen.page.keyboard.press("Enter")
        expect(dialog).to_contain_text("Nothing runs on it")
        assert orders == []
        screen.page.keyboard.press(key)
        expect(dialog).to_have_count(0)
        with screen.page.expect_response("**/jupyter-compute/state*"):
            pass
    expect(machine).to_have_count(0, timeout=MS)
    assert len(orders) == 1


def _focused(screen: Screen) -> Any:
    """Return the name of what has the focus in the panel."""
    return screen.page.evaluate(
        "() => { const e = document.activeElement;"
        " return !e?.closest('#jupyter-compute-panel') ? null"
        " : e.dataset.command ?? e.closest('section').dataset.section; }"
    )


def test_it_is_usable_at_200_pixels_in_both_themes(screen: Screen) -> None:
    name = "a-run-with-a-name-that-is-longer-than-the-panel-is-wide"
    mine = run_in_background(screen, name)
    expect(mine.locator("[data-value=cpu_used]")).not_to_contain_text("\N{EN DASH}")
    for theme in ("Light", "Dark"):
        screen.theme(theme)
        screen.shot(f"panel-{theme.lower()}")
        wide, scrolled = screen.panel.evaluate(
            "panel => { const before = panel.getAttribute('style');"
            " Object.assign(panel.style, { width: '200px', minWidth: 0 });"
            " const all = [...panel.querySelectorAll('*')];"
            " const left = panel.getBoundingClientRect().left;"
            " const wide = Math.max(...all.map(e => e.getBoundingClientRect().right)) - left;"
            " const scrolled = panel.scrollWidth - panel.clientWidth;"
            " window.jcBefore = before; return [wide, scrolled]; }"
        )
        screen.shot(f"panel-narrow-{theme.lower()}")
        assert wide <= 200
        assert scrolled <= 0
        back, front = screen.panel.evaluate(
            "panel => { const style = getComputedStyle(panel);"
            " panel.setAttribute('style', window.jcBefore);"
            " return [style.backgroundColor, style.color].map(c => c.match(/\\d+/g).map(Number)); }"
        )
        assert (sum(back[:3]) < sum(front[:3])) == (theme == "Dark")
    screen.theme("Light")
    screen.cancel(name)


def test_the_settings_move_the_panel_and_slow_it_down(screen: Screen) -> None:
    screen.open("settings.ipynb", ["1"])
    panel = screen.open_panel()
    panel.locator("[data-command=settings]").click()
    form = screen.page.locator(".jp-SettingsForm").filter(has_text="The side of the panel")
    side = form.locator("select[id$=_side]")
    interval = form.locator("input[id$=_interval]")
    expect(screen.page.locator("#jp-right-stack #jupyter-compute-panel")).to_be_visible()
    side.select_option("left")
    expect(screen.page.locator("#jp-left-stack #jupyter-compute-panel")).to_have_count(1)
    screen.open_panel()
    expect(screen.page.locator("#jp-left-stack #jupyter-compute-panel")).to_be_visible()
    screen.shot("panel-left")

    interval.fill("3")
    interval.press("Tab")
    with screen.page.expect_request("**/jupyter-compute/state*"):
        pass
    screen.page.evaluate("() => performance.clearResourceTimings()")
    for _ in range(3):
        with screen.page.expect_request("**/jupyter-compute/state*"):
            pass
    times = screen.page.evaluate(
        "() => performance.getEntriesByType('resource')"
        ".filter(e => e.name.includes('jupyter-compute/state')).map(e => e.startTime)"
    )
    assert min(later - earlier for earlier, later in pairwise(times)) > 2500

    side.select_option("right")
    expect(screen.page.locator("#jp-right-stack #jupyter-compute-panel")).to_have_count(1)
    interval.fill("1")
    interval.press("Tab")
    screen.open_panel()
    screen.page.evaluate("() => performance.clearResourceTimings()")
