"""The panel beside real cells: what it shows while they run, and what it can do to them."""

from __future__ import annotations

import os
import re
import statistics

import psutil
import pytest
from playwright.sync_api import expect

import services
from browsers import LOAD, MS, SPIN, Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHANGES = 5
BUSY = {
    "sleep": "import time; time.sleep(90)",
    "python": "while True: pass",
    # One call of a C function, which gives way to no other thread of the kernel.
    "c": "import re; re.match('(a+)+b', 'a' * 60)",
}
CPUS = len(os.sched_getaffinity(0))
PREPARE = """\
%%remote --memory 2G --name prepare
rows = [n * n for n in range(1_000_000)]
len(rows)"""
FIT = """\
--name fit --bg model
import numpy as np
data = np.random.default_rng(0).normal(size=(5_000_000, 8))
for epoch in range(10_000):
    weights = np.linalg.lstsq(data[:, :-1], data[:, -1])[0]"""
SCORE = """\
--name score
import os, time
print("scoring in process", os.getpid())
time.sleep(600)"""
WAITS = re.compile(r"waiting for (\d+) cpu.*: \1 of \1 cpu and .+ are in use by 1 run")


def test_numbers_go_on_changing_while_the_kernel_is_busy(screen: Screen) -> None:
    cell = f"%%remote --cpu 1 --memory 900M --name beside --bg spin\n{SPIN}"
    screen.open("beside.ipynb", [LOAD, cell, *BUSY.values()])
    screen.open_panel()
    screen.run(0)
    screen.run(1)
    mine = screen.row("beside")
    expect(mine).to_have_attribute("data-state", "running", timeout=MS)
    screen.wait_for_end(1)
    expect(mine.locator("[data-value=memory_used]")).not_to_contain_text("\N{EN DASH}")
    row = f"[data-run-id={mine.get_attribute('data-run-id')}]"
    for index, kind in enumerate(BUSY, start=2):
        screen.run(index)
        expect(screen.prompt(index)).to_have_text("[*]:")
        screen.page.wait_for_timeout(500)  # until the kernel is inside of the call
        screen.watch(
            index,
            elapsed=f"{row} [data-value=elapsed]",
            memory=f"{row} [data-value=memory_used]",
            curve=f"{row} .jc-Spark path@d",
            machine="[data-machine-id] .jc-Spark path@d",
        )
        screen.wait_for_changes(CHANGES, "elapsed", "memory", "curve", "machine")
        seen = screen.seen()
        screen.shot(f"beside-{kind}")
        assert seen["prompt"]["texts"] == ["[*]:"], f"{kind}: the kernel was not busy all the time"
        assert seen["state"]["texts"] == ["live"], kind
        for name in ("elapsed", "memory", "curve", "machine"):
            assert statistics.median(seen[name]["gaps"]) < 2, (kind, name, seen[name])
        screen.execute("notebook:interrupt-kernel")
        screen.wait_for_end(index)
    screen.cancel("beside")


def test_a_queued_run_says_why_it_waits_and_cancelling_makes_room_and_raises(
    screen: Screen,
) -> None:
    fit, score = (f"%%remote --cpu {CPUS} --memory 2G {rest}" for rest in (FIT, SCORE))
    screen.open("fit.ipynb", [LOAD, PREPARE, fit, score])
    screen.open_panel()
    for index in range(3):
        screen.run(index)
        screen.wait_for_end(index)
    expect(screen.row("prepare")).to_have_attribute("data-state", "done", timeout=MS)
    expect(screen.row("fit")).to_have_attribute("data-state", "running", timeout=MS)
    screen.run(3)
    waits = screen.row("score")
    expect(waits).to_have_attribute("data-state", "queued", timeout=MS)
    expect(waits.locator("[data-value=reason]")).to_have_text(WAITS, timeout=MS)
    expect(screen.cell(3).locator("[data-jc-run]")).to_contain_text(WAITS)
    place = f"[data-run-id={waits.get_attribute('data-run-id')}]"
    screen.watch(3, waited=f"{place} [data-value=waited]")
    screen.wait_for_changes(3, "waited")
    assert screen.seen()["prompt"]["texts"] == ["[*]:"]
    screen.shot("panel")

    screen.cancel("fit")
    expect(waits).to_have_attribute("data-state", "running", timeout=MS)
    expect(screen.cell(3)).to_contain_text(re.compile(r"process \d+"), timeout=MS)
    pid = int(re.findall(r"process (\d+)", screen.cell(3).inner_text())[-1])
    assert psutil.pid_exists(pid)
    assert screen.prompt(3).inner_text() == "[*]:"
    screen.cancel("score")
    screen.wait_for_end(3)
    expect(screen.cell(3)).to_contain_text("Cancelled: the run")
    services.wait_until(lambda: not psutil.pid_exists(pid))


def test_history_outlives_restart_and_reload_and_is_the_same_in_a_second_tab(
    screen: Screen,
) -> None:
    cell = "%%remote --cpu 1 --memory 2G --name kept\nprint('said', 'once')\n6 * 7"
    screen.open("history.ipynb", [LOAD, cell])
    panel = screen.open_panel()
    screen.run(0)
    screen.run(1)
    mine = screen.row("kept")
    expect(mine).to_have_attribute("data-state", "done", timeout=MS)
    screen.wait_for_end(1)
    receipt = mine.locator(".jc-Words").inner_text()
    assert "of 2 GB" in receipt

    mine.locator("[data-command=copy]").click()
    advised = re.search(r"--memory \S+", mine.locator(".jc-Advice").inner_text())
    assert advised is not None
    copied = screen.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"%%remote --cpu 1 {advised[0]}"

    screen.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
    )
    screen.wait_for_kernel()
    assert mine.locator(".jc-Words").inner_text() == receipt

    # The kernel of now has never heard of the run, nor of the magics.
    mine.locator("[data-command=attach]").click()
    screen.wait_for_end(2)
    assert screen.source(2) == f"%compute attach {mine.get_attribute('data-run-id')}"
    expect(screen.cell(2).locator(".jp-OutputArea")).to_contain_text("said once", timeout=MS)
    expect(screen.cell(2).locator("[data-jc-run]").first).to_have_attribute("data-jc-state", "done")

    panel.locator("[data-section=machines] button[aria-expanded]").click()
    screen.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    screen.page.wait_for_timeout(1500)  # JupyterLab saves its layout after a second
    screen.page.reload()
    screen.wait_for_kernel()
    expect(screen.panel).to_be_visible()
    expect(mine.locator(".jc-Words")).to_have_text(receipt, timeout=MS, use_inner_text=True)
    collapsed = screen.panel.locator("[data-section=machines] button[aria-expanded]")
    expect(collapsed).to_have_attribute("aria-expanded", "false")
    expect(screen.panel.locator("[data-machine-id]")).to_have_count(0)
    collapsed.click()
    expect(screen.panel.locator("[data-machine-id]")).to_have_count(1)

    with screen.second_tab():
        screen.go("lab/workspaces/second")
        screen.open_panel()
        expect(mine.locator(".jc-Words")).to_have_text(receipt, timeout=MS, use_inner_text=True)


def test_a_click_goes_to_the_cell_in_an_open_and_in_a_closed_notebook(screen: Screen) -> None:
    filler = [f"# {number}\n" * 12 for number in range(12)]
    cell = "%%remote --cpu 1 --memory 500M --name here\n6 * 7"
    screen.open("far.ipynb", [LOAD, *filler, cell])
    screen.open_panel()
    screen.run(0)
    screen.run(len(filler) + 1)
    goto = screen.row("here").locator("[data-command=goto]")
    expect(screen.row("here")).to_have_attribute("data-state", "done", timeout=MS)
    screen.wait_for_end(len(filler) + 1)
    screen.select(0)
    screen.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(0)")
    goto.click()
    active = screen.page.locator(".jp-Cell.jp-mod-active")
    expect(active).to_contain_text("--name here")
    expect(active).to_be_in_viewport()

    screen.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    screen.page.evaluate("() => window.jupyterapp.shell.currentWidget.dispose()")
    expect(screen.page.locator(".jp-NotebookPanel")).to_have_count(0)
    goto.click()
    expect(active).to_contain_text("--name here", timeout=MS)
    expect(active).to_be_in_viewport()
    screen.wait_for_kernel()

    screen.page.evaluate("() => window.jupyterapp.shell.currentWidget.dispose()")
    screen.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    goto.click()
    told = screen.page.locator(".Toastify__toast").filter(has_text="is in no open notebook")
    expect(told).to_contain_text("far.ipynb")
    told.get_by_role("button", name="Hide notification").click()
    expect(told).to_have_count(0)
