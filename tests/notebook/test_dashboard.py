"""``%compute dashboard``, seen and used through its comms as a front end does."""

from __future__ import annotations

import itertools
import os
import re
import signal
from typing import Any

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
        return "".join(str(state.get("value", "")) for _, state in self._shown)

    @property
    def _shown(self) -> list[tuple[str, dict[str, Any]]]:
        return self._below(self.root)

    def _below(self, comm: str) -> list[tuple[str, dict[str, Any]]]:
        state = self.kernel.widgets.states[comm]
        below = [self._below(name.split("_")[-1]) for name in state.get("children", ())]
        return [(comm, state), *itertools.chain(*below)]

    @property
    def state(self) -> str:
        """How it says that the pool is."""
        return next(iter(re.findall(r'data-state="([^"]*)"', self.html)), "")

    def wait(self, words: str, timeout: float = 30) -> str:
        """Wait until it shows these words, and return all that it shows."""
        self.kernel.wait_for(lambda: words in self.html, timeout)
        return self.html

    def becomes(self, state: str, timeout: float = 30) -> None:
        """Wait until it says that the pool is so."""
        self.kernel.wait_for(lambda: self.state == state, timeout)

    def buttons(self, label: str) -> list[str]:
        """Return the buttons with this label that are shown and can be pressed."""
        found = self._shown
        return [c for c, s in found if s.get("description") == label and not s["disabled"]]

    def press(self, label: str) -> None:
        """Press the one button with this label, when it can be pressed."""
        self.kernel.wait_for(lambda: len(self.buttons(label)) == 1)
        self.kernel.widgets.click(self.buttons(label)[0])


def test_it_follows_a_pool_from_nothing_to_its_end(kernel: Kernel, home: Home) -> None:
    shown = Dashboard(kernel)
    shown.becomes("no-pool")
    assert "The first %%remote cell starts one" in shown.html
    assert not any("jupyter_compute.pool" in line for line in home.processes().values())
    process = services.start()
    shown.becomes("empty")
    shown.wait("Nothing has run yet")
    ok(kernel.run(f"%%remote --bg run --cpu 1 --memory 500M --name '<i>mine'\n{SLEEP}"))
    shown.becomes("live")
    shown.wait('data-value="elapsed"')
    assert "&lt;i&gt;mine" in shown.html
    assert "<i>mine" not in shown.html
    shown.wait(" / 500 MB</span>")
    busy = kernel.start("import time; time.sleep(5)")
    seen = set()
    kernel.wait_for(lambda: seen.add(elapsed(shown)) or busy.ended)
    assert len(seen) >= 4, seen
    shown.press("Cancel")
    shown.wait("✗ cancelled")
    assert kernel.run("run.result()").ename == "Cancelled"
    shown.press("Stop the pool")
    shown.wait("Stop the pool and all its machines?")
    # The other one is that of the machine.
    kernel.widgets.click(shown.buttons("Stop")[0])
    shown.becomes("no-pool")
    process.wait(30)


def elapsed(shown: Dashboard) -> str:
    """Return for how long the first run that runs has been running."""
    return re.findall(r'data-value="elapsed">([^<]*)', shown.html)[0]


def test_stop_asks_before_it_ends_a_machine(kernel: Kernel) -> None:
    shown = Dashboard(kernel)
    ok(kernel.run("%%remote\n1"))
    shown.wait('data-state="ready"')
    first = re.findall('data-machine-id="([^"]*)"', shown.html)[0]
    shown.press("Stop")
    shown.wait("Really stop?")
    shown.press("No")
    kernel.wait_for(lambda: "Really stop?" not in shown.html)
    assert f'data-machine-id="{first}" data-state="ready"' in shown.html
    shown.press("Stop")
    shown.wait("Really stop?")
    shown.press("Stop")
    kernel.wait_for(lambda: f'data-machine-id="{first}"' not in shown.html)
    ok(kernel.run("%compute stop"))


def test_old_figures_are_said_to_be_old(kernel: Kernel, home: Home) -> None:
    shown = Dashboard(kernel)
    ok(kernel.run("%%remote --name one\n1"))
    shown.becomes("live")
    shown.wait("✓ done")
    pid = services.ask("GET", "/v1/info").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    shown.becomes("stale", 12)
    assert "does not answer" in shown.html
    ages = set()
    kernel.wait_for(
        lambda: ages.update(re.findall("Last heard ([^<]*) ago", shown.html)) or len(ages) > 1
    )
    assert shown.buttons("Stop the pool") == []
    os.kill(pid, signal.SIGCONT)
    shown.becomes("live")
    os.kill(pid, signal.SIGKILL)
    shown.becomes("stale", 12)
    assert "has died" in shown.html
    ok(kernel.run("%%remote\n1"))
    shown.becomes("live")


def test_a_new_one_takes_the_place_of_the_one_before(shared_kernel: Kernel) -> None:
    states = shared_kernel.widgets.states
    before = set(states)
    first = Dashboard(shared_kernel)
    of_first = states.keys() - before
    assert len(of_first) > 10
    assert ok(shared_kernel.run(THREADS)).result == "1"
    (bundle,) = first.reply.displays
    assert set(bundle) == {VIEW, "text/plain"}
    second = Dashboard(shared_kernel)
    shared_kernel.wait_for(lambda: first.root not in states)
    assert ok(shared_kernel.run(THREADS)).result == "1"
    assert "has moved" in str(second.reply.updates)
    assert of_first & states.keys() == set(), "widgets of the first are left"
    second.wait("Compute")


def test_its_thread_ends_when_nobody_shows_it(shared_kernel: Kernel) -> None:
    shown = Dashboard(shared_kernel)
    held = shared_kernel.widgets
    for count, threads in ((1, "1"), (0, "0"), (1, "1")):
        held.update(shown.root, _view_count=count)
        shared_kernel.wait_for(lambda n=threads: shared_kernel.run(THREADS).result == n)
    ok(shared_kernel.run("from jupyter_compute.notebook import dashboard"))
    ok(shared_kernel.run("dashboard._current[0].box.close()"))
    shared_kernel.wait_for(lambda: shared_kernel.run(THREADS).result == "0")


def test_it_costs_nothing_while_nothing_happens(kernel: Kernel) -> None:
    shown = Dashboard(kernel)
    shown.becomes("no-pool")
    reply = kernel.start("import time; time.sleep(6)")
    before = kernel.widgets.messages
    kernel.finish(reply)
    # The banner comes again now and then, so that a kernel that has died is not called live.
    assert kernel.widgets.messages - before <= 2
