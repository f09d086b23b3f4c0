"""Notebook 7: the same panel and form, which come from the command palette, and the widgets."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from browsers import LOAD, MS, SPIN, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_notebook_7_has_the_panel_the_form_and_the_widgets_too(screen: Screen) -> None:
    cell = f"%%remote --cpu 1 --memory 500M --name seven\n{SPIN}"
    cells = [LOAD, cell, "6 * 7", "%compute ask --cpu 0.5", "%compute dashboard"]
    screen.write("seven.ipynb", cells)
    with screen.second_tab():
        screen.go("notebooks/seven.ipynb")
        screen.wait_for_kernel()
        panel = screen.open_panel()
        screen.run(0)
        screen.run(1)
        mine = screen.row("seven")
        expect(mine).to_have_attribute("data-state", "running", timeout=MS)
        row = f"[data-run-id={mine.get_attribute('data-run-id')}]"
        screen.watch(1, elapsed=f"{row} [data-value=elapsed]")
        screen.wait_for_changes(3, "elapsed")
        texts = {name: seen["texts"] for name, seen in screen.seen().items()}
        assert texts | {"elapsed": []} == {"prompt": ["[*]:"], "state": ["live"], "elapsed": []}
        screen.shot("notebook-7")
        screen.cancel("seven")
        screen.wait_for_end(1)
        expect(screen.cell(1)).to_contain_text("Cancelled: the run")
        assert panel.get_attribute("data-state") == "live"

        screen.select(2)
        screen.execute("jupyter-compute:run-cell-remotely")
        form = screen.page.locator(".jc-Dialog")
        form.locator('input[name="--cpu"]').fill("0.5")
        form.get_by_role("button", name="Run", exact=True).click()
        screen.wait_for_end(2)
        assert screen.source(2) == "%%remote --cpu 0.5\n6 * 7"
        expect(screen.cell(2)).to_contain_text("42", timeout=MS)

        screen.run(3)
        form = screen.cell(3).locator(".jc-ask")
        form.get_by_role("button", name="Insert").click()
        expect(form.locator(".jc-said")).to_have_text("the line is in a new cell")
        assert screen.source(4) == "%%remote --cpu 0.5\n"
        screen.run(5)
        board = screen.cell(5).locator(".jc-dashboard")
        told = board.locator("[data-run-id]").filter(has_text="seven").first
        expect(told).to_have_attribute("data-state", re.compile("done|cancelled"), timeout=MS)
        screen.shot("notebook-7-widgets")
    # Notebook 7.6 has an error of its own at start, with this extension disabled too.
    screen.errors[:] = [text for text in screen.errors if "jupyter-compute" in text]
