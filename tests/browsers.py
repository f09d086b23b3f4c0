"""A real Chromium that shows a real JupyterLab, and notebooks whose cells really run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright

from lab_servers import PATIENCE_S, TOKEN, Server

__all__ = ["LOAD", "MS", "PATIENCE_S", "SPIN", "TOKEN", "Screen", "Server", "chromium"]

LOAD = "%load_ext jupyter_compute"
MS = PATIENCE_S * 1000
SPIN = """\
import time
held = bytearray()
for _ in range(200):
    held += bytes(2_000_000)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(10_000))
    time.sleep(0.2)
time.sleep(600)"""
"""A cell that goes on for ever, and whose use of memory changes all the time."""

KEPT = os.environ.get("JUPYTER_COMPUTE_SHOTS")
"""Where pictures go. Read here, as homes have no such variable."""

_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
_NOT_OURS = re.compile(
    r"Canceled future for (comm_info|create_subshell|debug|delete_subshell|kernel_info)_request"
    r"|debugger state|Error: Disposed|'insertWidget'|ReactiveToolbar"
)
"""What some JupyterLabs themselves report when a notebook is closed at a bad moment."""

_SIZE = {"width": 1280, "height": 800}
_KERNEL_IS_READY = """async () => {
    await window.jupyterapp.restored;
    const context = window.jupyterapp.shell.currentWidget.sessionContext;
    await context.ready;
    await context.session.kernel.info;
}"""
_CLEAR = """async () => {
    const app = window.jupyterapp;
    for (const widget of [...app.shell.widgets('main')]) {
        widget.dispose();
    }
    await app.serviceManager.sessions.shutdownAll();
}"""


_ALONE = """() => {
    const shell = window.jupyterapp.shell;
    for (const widget of [...shell.widgets('main')]) {
        if (widget !== shell.currentWidget) {
            widget.dispose();
        }
    }
    shell.collapseLeft();
    shell.collapseRight();
}"""
# What is seen is noted in the page: looking from outside would have its own delays.
_WATCH = """watched => {
    const seen = {};
    for (const name of Object.keys(watched)) {
        seen[name] = { texts: [], times: [performance.now()] };
    }
    const note = () => {
        for (const [name, where] of Object.entries(watched)) {
            const [selector, attribute] = where.split('@');
            const node = document.querySelector(selector);
            const text = (attribute ? node?.getAttribute(attribute) : node?.textContent) ?? null;
            const { texts, times } = seen[name];
            if (texts.length === 0 || text !== texts[texts.length - 1]) {
                texts.push(text);
                times.push(performance.now());
            }
        }
    };
    note();
    const options = { attributes: true, characterData: true, childList: true, subtree: true };
    window.jcObserver?.disconnect();
    window.jcObserver = new MutationObserver(note);
    window.jcObserver.observe(document.body, options);
    window.jcSeen = () => Object.fromEntries(
        Object.entries(seen).map(([name, { texts, times }]) => {
            const ends = [...times.slice(2), performance.now()];
            const gaps = ends.map((end, i) => (end - times[i + 1]) / 1000);
            return [name, { texts, gaps }];
        })
    );
}"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium, or playwright's own if there is none."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Screen:
    """A browser window with JupyterLab, and what a user does and sees there.

    The page is loaded once: a notebook that is opened takes the place of those before it.

    Parameters
    ----------
    server : Server
    browser : Browser
    """

    def __init__(self, server: Server, browser: Browser) -> None:
        self.server = server
        self.context = browser.new_context(viewport=_SIZE)  # type: ignore[arg-type]
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.errors: list[str] = []
        self.page = self.new_page()

    def new_page(self) -> Page:
        """Open a tab whose errors are collected."""
        page = self.context.new_page()
        page.set_default_timeout(MS)
        page.on("pageerror", lambda error: self._note(str(error.stack or error)))
        page.on("console", self._console)
        return page

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self._note(f"{message.text} {message.location.get('url', '')}")

    def _note(self, error: str) -> None:
        if not _NOT_OURS.search(error):
            self.errors.append(error)

    def write(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": kernel},
        )
        nbformat.write(notebook, self.server.home.notebooks / name)

    def open(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook, open it alone with both sides closed, and wait for its kernel."""
        self.write(name, cells)
        if "/lab/" in self.page.url:
            self.page.evaluate(_CLEAR)
            self.execute("docmanager:open", path=name)
        else:
            # A workspace of its own: the default one has what was open before.
            self.go(f"lab/workspaces/{uuid.uuid4().hex[:8]}/tree/{name}")
        self.wait_for_kernel()
        self.page.evaluate(_ALONE)

    def go(self, path: str) -> None:
        """Load a page of the server, and wait until it is as it was left."""
        self.page.goto(self.url(path))
        self.page.wait_for_function("!!window.jupyterapp?.shell")
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")

    def url(self, path: str) -> str:
        """Return an address of the server, with the token."""
        return f"{self.server.url}/{path}?token={TOKEN}"

    def wait_for_kernel(self) -> None:
        """Return when the kernel of the notebook is ready."""
        self.page.wait_for_function("!!window.jupyterapp?.shell?.currentWidget?.sessionContext")
        self.page.evaluate(_KERNEL_IS_READY)

    @property
    def panel(self) -> Locator:
        """The panel."""
        return self.page.locator("#jupyter-compute-panel")

    def open_panel(self) -> Locator:
        """Bring the panel up, as its command does."""
        self.execute("jupyter-compute:open-panel")
        expect(self.panel).to_be_visible()
        return self.panel

    def row(self, name: str) -> Locator:
        """Return the panel's row of a run by the run's name."""
        named = self.page.get_by_role("button", name=name, exact=True)
        return self.panel.locator("li[data-run-id]").filter(has=named)

    def cancel(self, name: str) -> None:
        """Cancel a run in the panel, and wait for its end."""
        self.row(name).locator("[data-command=cancel]").click()
        expect(self.row(name)).to_have_attribute("data-state", "cancelled", timeout=MS)

    def execute(self, command: str, **args: Any) -> None:
        """Execute a command, without waiting for its end."""
        self.page.evaluate(
            "([id, args]) => { void window.jupyterapp.commands.execute(id, args); }",
            [command, args],
        )

    def select(self, index: int) -> None:
        """Make a cell the active one."""
        self.page.evaluate(
            "i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i; }", index
        )

    def run(self, index: int) -> None:
        """Start a cell."""
        self.select(index)
        self.execute("notebook:run-cell")

    def cell(self, index: int) -> Locator:
        """Return a code cell."""
        return self.page.locator(".jp-NotebookPanel:visible .jp-CodeCell").nth(index)

    def prompt(self, index: int) -> Locator:
        """Return a cell's prompt: ``[*]:`` while it runs."""
        return self.cell(index).locator(".jp-InputPrompt").first

    def wait_for_end(self, index: int) -> None:
        """Wait until a cell has ended."""
        expect(self.prompt(index)).to_have_text(_ENDED, timeout=MS)

    def source(self, index: int) -> str:
        """Return the text of a cell."""
        return str(
            self.page.evaluate(
                "i => window.jupyterapp.shell.currentWidget.content.widgets[i]"
                ".model.sharedModel.getSource()",
                index,
            )
        )

    def theme(self, name: str) -> None:
        """Change to JupyterLab's theme ``Light`` or ``Dark``, and wait until it is done.

        JupyterLab has an error of its own if the next change comes before its splash is gone.
        """
        self.execute("apputils:change-theme", theme=f"JupyterLab {name}")
        body = self.page.locator("body")
        expect(body).to_have_attribute("data-jp-theme-name", f"JupyterLab {name}")
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def watch(self, cell: int | None = None, **watched: str) -> None:
        """Begin to note the values of elements, each given as ``selector`` or ``selector@attribute``.

        The panel's ``state`` is noted in any case, and the ``prompt`` of a cell if one is given.
        """
        places = {"state": "#jupyter-compute-panel@data-state", **watched}
        if cell is not None:
            name = uuid.uuid4().hex
            self.prompt(cell).evaluate("(e, name) => { e.dataset.watched = name; }", name)
            places["prompt"] = f"[data-watched='{name}']"
        self.page.evaluate(_WATCH, places)

    def wait_for_changes(self, count: int, *names: str) -> None:
        """Wait until each of these values has changed a number of times since `watch`."""
        self.page.wait_for_function(
            "([count, names]) => names.every(n => window.jcSeen()[n].texts.length > count)",
            arg=[count, names],
        )

    def seen(self) -> dict[str, Any]:
        """Return of each what has been seen since: ``texts``, and for how long each, ``gaps``."""
        return dict(self.page.evaluate("() => window.jcSeen()"))

    def shot(self, name: str, around: Locator | None = None) -> None:
        """Keep a picture of all or what is around something, if ``JUPYTER_COMPUTE_SHOTS`` names a folder."""
        if KEPT:
            self.page.mouse.move(_SIZE["width"] / 2, _SIZE["height"] - 5)  # over nothing
            box = around.bounding_box() if around is not None else None
            clip = None if box is None else _with_margin(box)
            self.page.screenshot(path=Path(KEPT) / f"{name}.png", clip=clip)

    @contextlib.contextmanager
    def second_tab(self) -> Iterator[Page]:
        """Open a tab in which everything happens until the end; return the one before."""
        first, self.page = self.page, self.new_page()
        yield first
        self.page.close()
        self.page = first

    def tidy(self, *, afresh: bool) -> None:
        """Close the tabs that a test has left; if it failed, also what it may have left running."""
        self.page, *others = self.context.pages
        for page in others:
            page.close()
        if afresh:
            self.server.home.stop_pool()
            self.page.close()
            self.page = self.new_page()

    def close(self) -> None:
        """Close the window and all that belongs to it."""
        self.context.close()


def _with_margin(box: FloatRect, margin: float = 80.0) -> FloatRect:
    left, top = max(0.0, box["x"] - margin), max(0.0, box["y"] - margin)
    right = min(float(_SIZE["width"]), box["x"] + box["width"] + margin)
    bottom = min(float(_SIZE["height"]), box["y"] + box["height"] + margin)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


_ENDED = re.compile(r"^\[\d+\]:$")
