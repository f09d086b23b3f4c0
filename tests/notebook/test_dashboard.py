"""``%compute dashboard``, seen and used through its comms as a front end does."""

from __future__ import annotations

import os
import re
import signal

import pytest

import services
from homes import Home
from kernels import Kernel, ok
from widgets import VIEW

pytestmark = pytest.mark.slow

SLEEP = "import time; time.sleep(600)"
THREADS = "sum(t.name == 'jupyter-compute-watch' for t in __import__('threading').enumerate())"


class Dashboard:
    """The dashboard that a kernel has opened last."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        ok(kernel.run("%load_ext jupyter_compute"))
        self.reply = ok(kernel.run("%compute dashboard"))
        self.root = kernel.widgets.find(kind="jc-dashboard")

    @property
    def html(self) -> str:
        """All that it shows."""
        return self._html(self.root)

    def _html(self, comm: str) -> str:
        state = self.kernel.widgets.states[comm]
        inner = "".join(self._html(child.split("_")[-1]) for child in state.get("children", ()))
        return str(state.get("value", "")) + inner

    @property
    def state(self) -> str:
        """How it says that the pool is."""
        return re.findall(r'data-state="([^"]*)"', self.html)[0]

    def wait(self, words: str, timeout: float = 30) -> str:
        """Wait until it shows these words, and return all that it shows."""
        self.kernel.wait_for(lambda: words in self.html, timeout)
        return self.html

    def becomes(self, state: str, timeout: float = 30) -> None:
        """Wait until it says that the pool is so."""
        self.kernel.wait_for(lambda: self.state == state, timeout)

    def press(self, button: str) -> None:
        """Press a button when it can be pressed."""
        held = self.kernel.widgets
        self.kernel.wait_for(lambda: held.find(description=button, disabled=False))
        held.click(held.find(description=button, disabled=False))


def test_first(kernel: Kernel, home: Home) -> None:
    shown = Dashboard(kernel)
    shown.becomes("no-pool")
    kernel.run("%%remote\n1+1")
    shown.becomes("live")
    print(shown.html)
    ok(kernel.run(f"%%remote --bg run --name <i>x\n{SLEEP}"))
    shown.wait("elapsed")
    print(shown.html)
    n = kernel.widgets.messages
    ok(kernel.run("__import__('time').sleep(10)"))
    print(kernel.widgets.messages - n)
    shown.press("Cancel")
    shown.wait("cancelled")
    ok(kernel.run("__import__('time').sleep(10)"))
    n = kernel.widgets.messages
    ok(kernel.run("__import__('time').sleep(10)"))
    print(kernel.widgets.messages - n)
    print(kernel.run(THREADS).result)
    assert 0
