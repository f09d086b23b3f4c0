"""The driver that other tests trust."""

from __future__ import annotations

import pytest

from kernels import Kernel

pytestmark = pytest.mark.slow


def test_a_reply_has_everything_in_order(session_kernel: Kernel) -> None:
    reply = session_kernel.run(
        "import sys\n"
        "from IPython.display import display, HTML, clear_output\n"
        "print('one'); print('two')\n"
        "print('bad', file=sys.stderr)\n"
        "handle = display(HTML('<b>old</b>'), display_id=True)\n"
        "handle.update(HTML('<b>new</b>'))\n"
        "6 * 7"
    )
    assert (reply.status, reply.stdout, reply.stderr) == ("ok", "one\ntwo\n", "bad\n")
    assert reply.result == "42"
    assert [data["text/html"] for data in reply.displays] == ["<b>old</b>"]
    assert [data["text/html"] for data in reply.updates] == ["<b>new</b>"]
    seen = [one.get("text") or one["data"].get("text/html", "42") for one in reply.visible]
    assert seen == ["one\ntwo\n", "bad\n", "<b>new</b>", "42"]


def test_an_exception_is_reported(session_kernel: Kernel) -> None:
    reply = session_kernel.run("1 / 0")
    assert (reply.status, reply.ename) == ("error", "ZeroDivisionError")
    assert "1 / 0" in reply.traceback


def test_a_cell_can_be_watched_and_interrupted(session_kernel: Kernel) -> None:
    reply = session_kernel.start("import time\nprint('there', flush=True)\ntime.sleep(60)")
    session_kernel.wait_for(lambda: "there" in reply.stdout)
    assert not reply.ended
    session_kernel.interrupt()
    assert session_kernel.finish(reply).ename == "KeyboardInterrupt"


def test_a_restarted_kernel_is_a_new_process(kernel: Kernel) -> None:
    before = kernel.pid
    kernel.run("x = 1")
    kernel.restart()
    assert kernel.run("x").ename == "NameError"
    assert kernel.pid != before
