"""What the panel shows of a pool that costs money: of one that is made up, as no layer here does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

import crowd
import services
from browsers import PATIENCE_S, Screen
from homes import Home
from jupyter_compute import places

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MS = PATIENCE_S * 1000


@pytest.fixture(scope="module")
def pool(lab_home: Home) -> Iterator[None]:
    """A pool with prices: three machines, and runs that have ended on several days."""
    command = [sys.executable, crowd.__file__, "--machines", "3", "--runs", "80"]
    lab_home.stop_pool()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=lab_home.env)
    services.wait_until(lambda: process.poll() is not None or places.socket().exists())
    yield
    process.communicate()
    assert process.returncode == 0


def value(place: Locator, name: str) -> Locator:
    """Return a shown number."""
    return place.locator(f"[data-value={name}]")


def dollars(place: Locator) -> float:
    """Return an amount that is shown."""
    found = re.search(r"\$([\d.]+)", place.inner_text())
    assert found, place.inner_text()
    return float(found[1])


def sections(screen: Screen, notebook: str) -> tuple[Locator, Locator]:
    """Return the sections *Now* and *Cost*, live."""
    screen.open(notebook, ["1"])
    panel = screen.open_panel()
    expect(panel).to_have_attribute("data-state", "live", timeout=MS)
    return panel.locator("[data-section=now]"), panel.locator("[data-section=cost]")


def test_costs_are_summed_by_notebook_and_day(pool: None, screen: Screen) -> None:
    _, cost = sections(screen, "cost.ipynb")
    bars = cost.locator("[data-cost-of]")
    expect(bars).to_have_count(5 + 5)  # and none of the two days before the first run
    notebooks = [dollars(value(bars.nth(index), "usd")) for index in range(5)]
    today = dollars(value(bars.nth(5), "usd"))
    assert today == pytest.approx(sum(notebooks), abs=0.03)
    before = dollars(value(cost, "active"))
    expect(value(cost, "active")).not_to_have_text(f"${before:.2f}", timeout=MS)
    assert dollars(value(cost, "today")) == pytest.approx(today + before, abs=0.05)


def test_a_warning_is_set_in_place_given_once_and_kept(pool: None, screen: Screen) -> None:
    now, cost = sections(screen, "warning.ipynb")
    field = cost.locator("[data-command=warn]")
    assert field.input_value() == ""
    field.fill("lots")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(cost.get_by_role("alert")).to_contain_text("an amount in dollars")
    field.press("Enter")
    field.press("Escape")
    expect(field).to_have_value("")
    expect(value(now, "warn_above")).to_have_count(0)
    field.fill("500")
    field.press("Enter")
    expect(value(now, "warn_above")).to_have_text("$500.00")
    expect(now.get_by_role("meter")).to_be_visible()
    warnings = screen.page.locator(".Toastify__toast").filter(has_text="your warning is at")
    expect(warnings).to_have_count(0)
    field.fill("0.1")
    field.press("Tab")
    expect(warnings).to_have_count(1)
    expect(cost).to_contain_text("above your warning at")
    screen.shot("cost")
    screen.page.wait_for_timeout(1500)  # JupyterLab saves its state after a second
    screen.page.reload()
    screen.wait_for_kernel()
    expect(value(now, "warn_above")).to_have_text("$0.10", timeout=MS)
    expect(field).to_have_value("0.1")
    screen.page.wait_for_timeout(2500)
    expect(warnings).to_have_count(0)
    wide = screen.panel.evaluate(
        "panel => { Object.assign(panel.style, { width: '200px', minWidth: 0 });"
        " return Math.max(...[...panel.querySelectorAll('*')].map("
        "e => e.getBoundingClientRect().right)) - panel.getBoundingClientRect().left; }"
    )
    screen.shot("cost-narrow")
    assert wide <= 200
    field.fill("")
    field.press("Enter")
    expect(value(now, "warn_above")).to_have_count(0)
