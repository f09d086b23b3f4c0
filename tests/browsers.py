"""JupyterLab as a user has it: a real server, a real Chromium, notebooks whose cells really run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from homes import Home

TOKEN = "a-token-for-tests"
PATIENCE_S = 60.0
LOAD = "%load_ext jupyter_compute"

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
_APPLICATIONS = ("LabApp", "JupyterNotebookApp")
_QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": False,
    }
}
_KERNEL_IS_READY = """async () => {
    await window.jupyterapp.restored;
    const context = window.jupyterapp.shell.currentWidget.sessionContext;
    await context.ready;
    await context.session.kernel.info;
}"""


# What is seen is noted in the page: looking from outside would have its own delays.
_WATCH = """selector => {
    const panel = document.getElementById('jupyter-compute-panel');
    const [texts, states, times] = [[], [panel.dataset.state], [performance.now()]];
    const note = () => {
        const text = document.querySelector(selector)?.textContent ?? null;
        if (text !== texts[texts.length - 1]) {
            texts.push(text);
            times.push(performance.now());
        }
        if (panel.dataset.state !== states[states.length - 1]) {
            states.push(panel.dataset.state);
        }
    };
    note();
    const options = { attributes: true, characterData: true, childList: true, subtree: true };
    new MutationObserver(note).observe(panel, options);
    window.jcSeen = () => {
        const ends = [...times.slice(1), performance.now()];
        return { texts, states, gaps: ends.map((end, i) => (end - times[i]) / 1000) };
    };
}"""


class Server:
    """A JupyterLab server with a home of its own.

    Parameters
    ----------
    home : Home
    application : {"jupyterlab", "notebook"}
    options : sequence of str
    """

    def __init__(
        self, home: Home, application: str = "jupyterlab", options: Sequence[str] = ()
    ) -> None:
        self.home = home
        self._settings = home.path / "settings"
        self._settings.mkdir(exist_ok=True)
        (self._settings / "overrides.json").write_text(json.dumps(_QUIET))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (home.path / "server.log").open("wb")
        # `-m` would put the working directory on the path of every kernel.
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", application, "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home.notebooks}"),
                *(f"--{app}.expose_app_in_browser=True" for app in _APPLICATIONS),
                *(f"--{app}.app_settings_dir={self._settings}" for app in _APPLICATIONS),
                *options,
            ],
            env=home.env | {"JUPYTER_PREFER_ENV_PATH": "1"},
            cwd=home.path,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                self.get("api/status")
                return
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """What the server has written."""
        return (self.home.path / "server.log").read_text(errors="replace")

    def get(self, path: str) -> Any:
        """Return the JSON at an address of the server."""
        request = urllib.request.Request(
            f"{self.url}/{path}", headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


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
    """One tab with JupyterLab, and what a user does and sees there.

    Parameters
    ----------
    server : Server
    browser : Browser
    """

    def __init__(self, server: Server, browser: Browser) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.errors: list[str] = []
        self.page = self.new_page()

    def new_page(self) -> Page:
        """Open a tab whose errors are collected."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error.stack or error)))
        page.on("console", self._console)
        return page

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def write(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": kernel},
        )
        nbformat.write(notebook, self.server.home.notebooks / name)

    def open(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook, open it in a workspace of its own, and wait for its kernel."""
        self.write(name, cells)
        self.page.goto(self.url(f"lab/workspaces/{uuid.uuid4().hex[:8]}/tree/{name}"))
        self.wait_for_kernel()

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
        expect(self.prompt(index)).to_have_text(_ENDED, timeout=PATIENCE_S * 1000)

    def source(self, index: int) -> str:
        """Return the text of a cell."""
        return str(
            self.page.evaluate(
                "i => window.jupyterapp.shell.currentWidget.content.widgets[i]"
                ".model.sharedModel.getSource()",
                index,
            )
        )

    def watch(self, selector: str) -> None:
        """Begin to note the values that the element's text has, and the panel's states."""
        self.page.evaluate(_WATCH, selector)

    def seen(self) -> dict[str, list[Any]]:
        """Return what has been seen since: ``texts`` and ``states``, and ``gaps`` in seconds."""
        return dict(self.page.evaluate("() => window.jcSeen()"))

    def shot(self, name: str) -> None:
        """Keep a picture, if somebody wants to look at it (``JUPYTER_COMPUTE_SHOTS``)."""
        if KEPT:
            self.page.screenshot(path=Path(KEPT) / f"{name}.png")

    def close(self) -> None:
        """Close the tab and all that belongs to it."""
        self.context.close()


_ENDED = re.compile(r"^\[\d+\]:$")
