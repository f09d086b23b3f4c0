"""*Run Cell Remotely…*: the form that writes, edits and runs the line of a cell."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from browsers import LOAD, MS, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def form(screen: Screen) -> Locator:
    """Return the dialog."""
    return screen.page.locator(".jc-Dialog")


def fill(screen: Screen, option: str, text: str) -> None:
    """Write into a field of the form."""
    form(screen).locator(f'input[name="{option}"]').fill(text)


def press(screen: Screen, button: str) -> None:
    """Press a button of the form."""
    form(screen).get_by_role("button", name=button, exact=True).click()


def test_it_writes_a_line_edits_one_and_runs_the_cell(screen: Screen) -> None:
    edited = "%%remote --cpu 4 --in a,b --name 'my run' --quiet # mind the memory\nx = 1"
    screen.open("form.ipynb", ["import os\nos.getpid()", edited, "6 * 7"])
    screen.select(0)
    screen.cell(0).locator("[data-jp-item-name=run-remotely]").click()
    fill(screen, "--cpu", "0.5")
    fill(screen, "--memory", "500M")
    expect(form(screen).locator("[data-value=line]")).to_have_text(
        "%%remote --cpu 0.5 --memory 500M"
    )
    press(screen, "Write Line")
    expect(form(screen)).to_have_count(0)
    assert screen.source(0) == "%%remote --cpu 0.5 --memory 500M\nimport os\nos.getpid()"

    screen.select(1)
    screen.execute("jupyter-compute:run-cell-remotely")
    expect(form(screen).locator('input[name="--name"]')).to_have_value("my run")
    fill(screen, "--cpu", "")
    fill(screen, "--retries", "2")
    press(screen, "Write Line")
    expect(form(screen)).to_have_count(0)
    assert screen.source(1) == (
        "%%remote --in a,b --name 'my run' --quiet --retries 2 # mind the memory\nx = 1"
    )

    # The kernel has not loaded the magics: the form sees to that.
    screen.select(2)
    screen.cell(2).click(button="right")
    screen.page.locator(".lm-Menu").get_by_text("Run Cell Remotely…").click()
    fill(screen, "--memory", "500M")
    press(screen, "Run")
    screen.wait_for_end(2)
    expect(screen.cell(2)).to_contain_text("42", timeout=MS)
    expect(screen.cell(2).locator("[data-jc-run]")).to_have_attribute("data-jc-state", "done")
    assert screen.source(2) == "%%remote --memory 500M\n6 * 7"


def test_it_names_the_offer_and_refuses_what_is_no_size(screen: Screen) -> None:
    body = "rows = [n * n for n in range(1_000_000)]\nsum(rows) / len(rows)"
    screen.open("offers.ipynb", [LOAD, f"%%remote --memory 500M\n{body}"])
    screen.run(0)
    screen.run(1)
    screen.wait_for_end(1)
    screen.execute("jupyter-compute:run-cell-remotely")
    offer = form(screen).locator("[data-value=offer]")
    expect(offer).to_contain_text("local: ", timeout=MS)
    fill(screen, "--cpu", "1")
    fill(screen, "--retries", "2")
    screen.shot("dialog", form(screen).locator(".jp-Dialog-content"))
    fill(screen, "--retries", "")
    fill(screen, "--cpu", "64")
    expect(offer).to_contain_text("it would run with what there is")
    fill(screen, "--gpu", "1")
    expect(offer).to_contain_text("No offer is large enough")
    fill(screen, "--gpu", "")
    fill(screen, "--cpu", "5000")
    expect(offer).to_contain_text("No offer is large enough")
    fill(screen, "--cpu", "1")
    fill(screen, "--memory", "500")
    field = form(screen).locator('input[name="--memory"]')
    expect(field).to_have_attribute("aria-invalid", "true")
    press(screen, "Write Line")
    warning = screen.page.locator(".jp-Dialog").filter(has_text="Memory is not right")
    expect(warning).to_contain_text("a size with its unit")
    warning.get_by_role("button").click()
    expect(field).to_have_value("500")
    press(screen, "Cancel")
    assert screen.source(1) == f"%%remote --memory 500M\n{body}"


def test_it_is_used_by_keyboard_alone(screen: Screen) -> None:
    screen.open("keys.ipynb", ["6 * 7"])
    keyboard = screen.page.keyboard
    screen.page.locator(".jp-Notebook .cm-content").first.click()
    keyboard.press("Escape")
    keyboard.press("Control+Alt+Enter")
    expect(form(screen).locator('input[name="--cpu"]')).to_be_focused()
    keyboard.press("Escape")
    expect(form(screen)).to_have_count(0)
    assert screen.source(0) == "6 * 7"
    keyboard.press("Control+Alt+Enter")
    expect(form(screen).locator('input[name="--cpu"]')).to_be_focused()
    keyboard.type("0.5")
    keyboard.press("Tab")
    keyboard.type("500M")
    keyboard.press("Enter")
    screen.wait_for_end(0)
    assert screen.source(0) == "%%remote --cpu 0.5 --memory 500M\n6 * 7"
    expect(screen.cell(0)).to_contain_text("42", timeout=MS)


def test_it_is_in_the_palette_and_the_panel_in_the_view_menu(screen: Screen) -> None:
    screen.open("menus.ipynb", ["1"])
    screen.page.get_by_role("menuitem", name="View", exact=True).click()
    screen.page.locator(".lm-Menu").get_by_text("Show Compute").click()
    expect(screen.panel).to_be_visible()
    screen.execute("apputils:activate-command-palette")
    palette = screen.page.locator("#command-palette, .jp-ModalCommandPalette").first
    palette.locator("input").fill("compute")
    for label in ("Show Compute", "Run Cell Remotely…", "Stop Pool…"):
        expect(palette.locator(".lm-CommandPalette-item").filter(has_text=label)).to_be_visible()
    screen.page.keyboard.press("Escape")
