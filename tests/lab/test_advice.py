"""What runs have told is used: their advice in the form, the start of a machine for the next."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from browsers import LOAD, PATIENCE_S, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MS = PATIENCE_S * 1000
WRITTEN = "%%remote --memory 1G --name large # mind"


def form(screen: Screen) -> Locator:
    """Open the form for the second cell, from a panel that nobody has looked at."""
    screen.select(1)
    screen.execute("jupyter-compute:run-cell-remotely")
    return screen.page.locator(".jc-Dialog")


def test_advice_is_applied_in_the_form_whose_keys_are_those_of_any_form(screen: Screen) -> None:
    screen.open("advice.ipynb", [LOAD, f"{WRITTEN}\n6 * 7"])
    screen.run(0)
    screen.run(1)
    screen.wait_for_end(1)
    expect(screen.cell(1)).to_contain_text("would do")
    dialog = form(screen)
    line, memory = dialog.locator("[data-value=line]"), dialog.locator('input[name="--memory"]')
    advised = dialog.locator("[data-value=advised]")
    expect(advised).to_contain_text("Use advised: --memory")
    size = advised.inner_text().rpartition(" ")[2]
    box = advised.get_by_role("checkbox")
    expect(box).not_to_be_checked()
    box.press("Space")
    expect(memory).to_have_value(size)
    expect(line).to_have_text(f"%%remote --memory {size} --name large # mind")
    screen.shot("dialog-advised")
    box.press("Space")
    expect(memory).to_have_value("1G")
    expect(line).to_have_text(WRITTEN)
    box.press("Space")
    memory.press("Escape")
    expect(dialog).to_have_count(0)
    assert screen.source(1) == f"{WRITTEN}\n6 * 7"

    dialog = form(screen)
    box.check()
    name = dialog.locator('input[name="--name"]')
    name.fill("two words ")
    name.press("Enter")
    expect(dialog).to_have_count(0)
    screen.wait_for_end(1)
    assert screen.source(1) == f'%%remote --memory {size} --name "two words" # mind\n6 * 7'
    expect(screen.cell(1).locator("[data-jc-run]")).to_have_attribute("data-jc-state", "done")


def test_an_idle_machine_counts_down_until_it_is_stopped(screen: Screen) -> None:
    screen.open("machine.ipynb", [LOAD, "%%remote --memory 500M\n6 * 7"])
    screen.run(0)
    screen.run(1)
    screen.wait_for_end(1)
    panel = screen.open_panel()
    machine = panel.locator("li[data-machine-id]")
    expect(machine.locator("[data-value=idle_s]")).to_contain_text("idle for", timeout=MS)
    expect(machine.locator("[data-value=ends]")).to_have_text(
        re.compile(r"ends in (10 min|9 min 5\d sec)")
    )
    screen.shot("idle")
    machine.locator("[data-command=stop]").click()
    screen.page.locator(".jp-Dialog").get_by_role("button", name="Stop").click()
    expect(machine).to_have_count(0, timeout=MS)
