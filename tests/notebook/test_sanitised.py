"""The status line where notebooks are read, not run: exported, on GitHub, in an untrusted notebook."""

from __future__ import annotations

import html
import re
from typing import Any

import bleach
import nbformat
import pytest
from nbconvert.exporters import HTMLExporter, MarkdownExporter

from jupyter_compute.model import Receipt
from jupyter_compute.notebook.status import Status

GB = 10**9
RECEIPT = Receipt(
    wait_s=38.0,
    run_s=41.0,
    attempts=2,
    layer="local",
    machine="local",
    cpu=8.0,
    memory=32 * GB,
    cpu_mean=6.32,
    memory_peak=9_800_000_000,
    advice="--memory 12G would do (as in 3 runs)",
)
RUNNING = {"kind": "state", "state": "running", "machine": "local", "cpu": 8.0, "memory": 32 * GB}
SAMPLE = {"kind": "sample", "elapsed_s": 41.0, "cpu_used": 6.31, "memory_used": 9_800_000_000}
DONE = {"kind": "end", "state": "done", "envelope": {"outcome": "ok"}}
FAILED = {"kind": "end", "state": "failed", "envelope": {"outcome": "error", "type": "OSError"}}


def status(*events: dict[str, Any]) -> Status:
    """Return the status of a run with such events, and with notes."""
    made = Status("r-abc", notes=["asked <64> cpu & more", "attempt 1: rerun\nin 1 s"])
    for event in events:
        made.take(event)
    return made


STATUSES = {
    "running": status(RUNNING, SAMPLE),
    "done": status({**DONE, "receipt": RECEIPT.to_wire()}),
    "failed": status({**FAILED, "receipt": RECEIPT.to_wire()}),
}


def read(markup: str) -> list[str]:
    """Return the lines in which a browser shows blocks and spans."""
    broken = re.sub(r"</?div[^>]*>", "\n", markup)
    text = html.unescape(re.sub(r"<[^>]+>", "", broken))
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", STATUSES)
def test_it_reads_the_same_whatever_is_taken_from_it(name: str) -> None:
    markup = STATUSES[name].markup()
    lines = [line.strip() for line in STATUSES[name].text().splitlines()]
    assert len(lines) == 4
    bare = bleach.clean(markup, tags={"div", "span"}, attributes={})
    assert "style" not in bare
    assert "data-" not in bare
    without_spans = bleach.clean(markup, tags={"div"}, attributes={}, strip=True)
    for left in (markup, bare, without_spans):
        assert read(left) == lines


@pytest.mark.parametrize("name", STATUSES)
def test_it_needs_nothing_from_elsewhere(name: str) -> None:
    markup = STATUSES[name].markup()
    assert (
        re.search(r"(?i)<(?!/?(div|span)\b)|\bon\w+=|src=|href=|url\(|class=|import", markup)
        is None
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", STATUSES)
@pytest.mark.parametrize("sanitize", [False, True])
def test_exports_show_it(name: str, sanitize: bool) -> None:
    shown = nbformat.v4.new_output("display_data", data=STATUSES[name].bundle())
    cell = nbformat.v4.new_code_cell("%%remote\n1", outputs=[shown])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    exporters = [HTMLExporter(sanitize_html=sanitize), MarkdownExporter()]
    for exporter in exporters:
        body, _ = exporter.from_notebook_node(notebook)
        assert STATUSES[name].line() in read(body)


def test_its_colours_can_be_seen_on_light_and_dark_pages() -> None:
    """As signs, by WCAG 2.2's rule for what is no text; the text has the colour of the page's."""
    for made in (*STATUSES.values(), status({**DONE, "state": "cancelled"})):
        for fallback in re.findall(r"color:var\(--jp-[a-z0-9-]+,(#\w{6})\)", made.markup()):
            for page in ("#ffffff", "#111111", "#1e1e1e"):
                assert contrast(fallback, page) >= 3, (fallback, page)
        assert re.findall("#[0-9a-f]{6}", made.markup()) == re.findall(
            r",(#\w{6})\)", made.markup()
        )


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return how bright a colour is."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
