"""``%compute ask``, used through its comms as a front end does."""

from __future__ import annotations

import os
import signal

import pytest

import services
from homes import Home
from kernels import Kernel, Reply, ok
from widgets import VIEW

pytestmark = pytest.mark.slow

INSERT = "jupyter-compute:insert"


class Form:
    """The form that a kernel has opened last."""

    def __init__(self, kernel: Kernel, line: str = "") -> None:
        self.kernel = kernel
        ok(kernel.run("%load_ext jupyter_compute\n%compute defaults reset"))
        kernel.widgets.states.clear()
        self.reply: Reply = ok(kernel.run(f"%compute ask {line}"))

    def put(self, field: str, value: str) -> None:
        """Write into a field."""
        self.kernel.widgets.update(self.kernel.widgets.find(description=field), value=value)

    def press(self, button: str) -> None:
        """Press a button."""
        self.kernel.widgets.click(self.kernel.widgets.find(description=button))

    def says(self, part: str, words: str) -> str:
        """Wait until a part of the form has these words, and return all that it has."""
        held = self.kernel.widgets
        self.kernel.wait_for(lambda: words in held.value(kind=f"jc-{part}"))
        return held.value(kind=f"jc-{part}")

    def shows_line(self, line: str) -> None:
        """Wait until the form shows this line."""
        self.says("line", f">{line}</code>")

    def allows(self, allowed: bool) -> None:
        """Wait until its two buttons can be pressed, or neither can."""
        held = self.kernel.widgets
        buttons = [held.find(description=name) for name in ("Use as default", "Insert")]
        self.kernel.wait_for(
            lambda: all(held.states[button]["disabled"] is not allowed for button in buttons)
        )


def test_the_offer_follows_the_controls(shared_kernel: Kernel) -> None:
    form = Form(shared_kernel)
    form.shows_line("%%remote")
    form.says("offer", "would run on local with 1 cpu")
    form.says("offer", "at no cost; a machine is ready")
    form.put("cpu", "0.5")
    form.put("memory", "300 MB")
    form.says("offer", "with 0.5 cpu 300 MB")
    form.shows_line("%%remote --cpu 0.5 --memory &quot;300 MB&quot;")
    form.put("cpu", "800")
    form.says("offer", "asked 800 cpu 300 MB, this computer has")
    form.allows(True)
    form.put("cpu", "")
    form.put("memory", "4000M")
    form.put("retries", "0")
    form.shows_line("%%remote --memory 4000M")


def test_a_slider_writes_into_its_field_and_follows_it(shared_kernel: Kernel) -> None:
    form = Form(shared_kernel)
    held = shared_kernel.widgets
    slider = held.find(tooltip="memory in steps")
    steps = held.states[slider]["_options_labels"]
    held.update(slider, index=steps.index("2G"))
    form.shows_line("%%remote --memory 2G")
    form.put("memory", "8GB")
    form.shows_line("%%remote --memory 8GB")
    shared_kernel.wait_for(lambda: steps[held.states[slider]["index"]] == "8G")
    form.put("memory", "3G..5G")
    form.shows_line("%%remote --memory 3G..5G")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cpu", "0", "--cpu: &#x27;0&#x27; is not a number &gt; 0, at least 0.1"),
        ("memory", "64", "&#x27;64&#x27; has no unit: 64 what? 64G or 64GiB"),
        ("gpu", "-1", "is not a whole number of GPUs"),
        ("retries", "0.5", "is not a whole number from 0 to 100"),
        ("timeout", "soon", "is not a time &gt; 0"),
        ("cpu", "4 --bg <b>x", "--bg &lt;b&gt;x"),
    ],
)
def test_a_bad_value_is_refused_beside_its_field(
    shared_kernel: Kernel, field: str, value: str, words: str
) -> None:
    form = Form(shared_kernel)
    form.says("offer", "would run")
    form.put(field, value)
    told = form.says(f"problem-{field}", words)
    option = f"%%remote --{field} '{value}'"
    if "<" not in value:
        refused = shared_kernel.run(f"{option}\n1").stderr.removeprefix("UsageError: ").strip()
        assert refused.replace("'", "&#x27;").replace(">", "&gt;") in told
    form.allows(False)
    form.put(field, "")
    form.allows(True)
    assert shared_kernel.widgets.value(kind=f"jc-problem-{field}") == ""


def test_an_ask_that_nobody_can_satisfy_names_the_nearest(shared_kernel: Kernel) -> None:
    form = Form(shared_kernel)
    form.put("gpu", "1")
    told = form.says("offer", "no such GPU")
    assert "nearest: local, " in told
    assert "$0/h" in told
    form.allows(False)


def test_it_sets_the_defaults_and_then_writes_only_what_differs(shared_kernel: Kernel) -> None:
    form = Form(shared_kernel, "--cpu 0.5 --timeout 90")
    form.shows_line("%%remote --cpu 0.5 --timeout 90s")
    form.press("Use as default")
    form.says("said", "defaults of this notebook: --cpu 0.5 --timeout 90s")
    form.shows_line("%%remote")
    assert ok(shared_kernel.run("%compute defaults")).stdout == "--cpu 0.5 --timeout 90s\n"
    form.put("cpu", "1")
    form.shows_line("%%remote --cpu 1")
    form.put("cpu", "")
    shared_kernel.wait_for(lambda: shared_kernel.widgets.find(description="cpu", placeholder="0.5"))
    ok(shared_kernel.run("%compute defaults reset"))


def test_insert_asks_the_extension_and_otherwise_waits_for_the_next_cell(
    shared_kernel: Kernel,
) -> None:
    form = Form(shared_kernel, "--cpu 0.5")
    held = shared_kernel.widgets
    for answer in ({"inserted": True}, None):
        form.press("Insert")
        shared_kernel.wait_for(lambda: any(name == INSERT for name, _ in held.others.values()))
        (comm,) = [comm for comm, (name, _) in held.others.items() if name == INSERT]
        assert held.others[comm][1]["text"] == "%%remote --cpu 0.5\n"
        held.answer(comm, answer)
        form.says("said", "is in a new cell" if answer else "the next cell that you run")
        held.others.pop(comm, None)
        added = ok(shared_kernel.run("1")).next_inputs
        assert added == ([] if answer else ["%%remote --cpu 0.5\n"])
    # Nobody answers at all.
    form.put("cpu", "0.2")
    form.shows_line("%%remote --cpu 0.2")
    form.press("Insert")
    form.says("said", "the next cell that you run")
    assert ok(shared_kernel.run("1")).next_inputs == ["%%remote --cpu 0.2\n"]


def test_without_widgets_it_says_the_line_and_what_to_do(shared_kernel: Kernel) -> None:
    (shown,) = Form(shared_kernel, "--cpu 0.5").reply.displays
    assert set(shown) == {VIEW, "text/plain"}
    assert shown["text/plain"].startswith("%%remote --cpu 0.5\n")
    assert "%compute defaults --cpu 0.5" in shown["text/plain"]


def test_a_wrong_line_or_a_missing_package_is_refused(kernel: Kernel) -> None:
    ok(kernel.run("%load_ext jupyter_compute\n%compute"))
    assert kernel.run("import sys; 'ipywidgets' in sys.modules").result == "False"
    refused = kernel.run("%compute ask --memory 64")
    assert (refused.ename, "has no unit" in refused.stderr) == ("UsageError", True)
    kernel.run("sys.modules['ipywidgets'] = None; sys.modules.pop('jupyter_compute.notebook.form')")
    for command in ("ask", "dashboard"):
        refused = kernel.run(f"%compute {command}")
        assert refused.ename == "UsageError"
        assert "%pip install" in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_it_says_when_the_pool_does_not_answer_and_stays_usable(kernel: Kernel, home: Home) -> None:
    form = Form(kernel)
    form.says("offer", "a machine is ready")
    pid = services.ask("GET", "/v1/info").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        form.put("cpu", "0.5")
        form.shows_line("%%remote --cpu 0.5")
        form.press("Use as default")
        form.says("said", "--cpu 0.5")
        assert ok(kernel.run("1 + 1", timeout=5)).result == "2"
        form.says("offer", "does not answer: `jupyter compute doctor`")
        form.allows(True)
    finally:
        os.kill(pid, signal.SIGCONT)
    form.put("cpu", "0.7")
    form.says("offer", "with 0.7 cpu")
