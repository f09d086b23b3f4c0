"""Metaflow's decorators in a notebook: what they do to the runs of a function."""

from __future__ import annotations

import textwrap

import pytest

from kernels import Kernel, ok

pytestmark = pytest.mark.slow

_IMPORTS = """
import time
import jupyter_compute
from jupyter_compute import batch, catch, remote, resources, retry, timeout
small = remote(cpu=0.1, memory="256M")
"""


def prepared(kernel: Kernel, code: str) -> Kernel:
    """Return the kernel after it has run a cell with these definitions."""
    ok(kernel.run(_IMPORTS + textwrap.dedent(code)))
    return kernel


def test_a_timeout_is_rerun_and_then_held(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @catch(var="problem")
        @retry(times=1, minutes_between_retries=0)
        @timeout(seconds=1)
        @small
        def hang():
            print("begins")
            time.sleep(30)
        """,
    )
    reply = ok(kernel.run("print(hang())"))
    assert reply.stdout.count("begins\n") == 2
    _, _, rest = reply.stdout.partition("@catch caught an exception from hang\n")
    assert rest.endswith("\nNone\n")
    assert "jupyter_compute.errors.TimedOut: the run took longer than its timeout of 1 s" in rest
    assert "time.sleep(30)" in rest
    assert all(line.startswith(">  ") for line in rest.splitlines()[:-1])
    assert ok(kernel.run("type(problem).__name__, problem.limit")).result == "('TimedOut', 1.0)"
    receipt = "jupyter_compute.runs()[0].receipt.attempts, jupyter_compute.runs()[0].state"
    assert ok(kernel.run(receipt)).result == "(2, 'failed')"
    assert any("rerun 1 of 1 at once" in line for line in reply.status_lines)


def test_below_remote_and_above_it_is_the_same(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        from pathlib import Path
        @retry(times=2, minutes_between_retries=0)
        @small
        @catch(var="problem", print_exception=False)
        def works_at_last(marks):
            with open(marks, "a") as file: file.write("x")
            if Path(marks).stat().st_size < 3: raise OSError("not yet")
            return "done"
        problem = "unset"
        """,
    )
    reply = ok(kernel.run("works_at_last('marks-1'), Path('marks-1').read_text(), problem"))
    assert reply.result == "('done', 'xxx', None)"
    assert "@catch" not in reply.stdout
    fails = ok(kernel.run("works_at_last.options(retries=1)('marks-2'), problem"))
    assert fails.result == "(None, OSError('not yet'))"
    assert fails.stdout == ""


def test_pauses_are_as_long_as_they_are_asked_for(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @small
        @retry(times=2, minutes_between_retries=0.02)
        def fails():
            print(time.time())
            raise OSError
        """,
    )
    reply = kernel.run("fails()")
    assert reply.ename == "OSError"
    first, second, third = map(float, reply.stdout.split())
    assert 1.2 <= second - first < 4
    assert 1.2 <= third - second < 4


def test_a_long_pause_says_so_and_can_be_interrupted(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @retry
        @catch
        @small
        def fails(): raise OSError
        """,
    )
    reply = kernel.start("fails()")
    said = "▸ queued → ended with OSError: rerun 1 of 3 in 2 min"
    kernel.wait_for(lambda: [text for text in reply.status_lines if text.startswith(said)])
    kernel.interrupt()
    assert kernel.finish(reply, 10).ename == "KeyboardInterrupt"
    assert reply.status_lines[-1].startswith("✗ cancelled")


def test_a_held_exception_is_printed_as_the_notebook_shows_it(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @catch
        @small
        def invert(x):
            return 1 / x
        """,
    )
    lines = ok(kernel.run("invert(0)")).stdout.splitlines()
    assert lines[:2] == [
        "@catch caught an exception from invert",
        ">  Traceback (most recent call last):",
    ]
    assert any(line.startswith(">    Cell In[") for line in lines)
    assert lines[-2:] == [">      return 1 / x", ">  ZeroDivisionError: division by zero"]
    assert not any("jupyter_compute" in line for line in lines)


def test_catch_holds_for_await_and_submit_too(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @catch(var="problem", print_exception=False)
        @small
        async def later(x): return 1 / x
        @catch(var="trouble")
        @small
        def now(x): return 1 / x
        """,
    )
    assert ok(kernel.run("await later(0), problem")).result == (
        "(None, ZeroDivisionError('division by zero'))"
    )
    assert ok(kernel.run("await later(2), problem")).result == "(0.5, None)"
    assert ok(kernel.run("await later.submit(0), type(problem)")).result == (
        "(None, ZeroDivisionError)"
    )
    held = ok(kernel.run("run = now.submit(0)\nrun.result(), run.result(), run.state, trouble"))
    assert held.result == "(None, None, 'failed', ZeroDivisionError('division by zero'))"
    assert held.stdout.count("@catch caught an exception from now") == 1


def test_catch_holds_no_interrupt_no_cancel_and_no_refusal(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        import os, signal, threading
        problem = "unset"
        @catch(var="problem")
        @small
        def wait(x):
            print("ready")
            time.sleep(100)
        """,
    )
    reply = kernel.start("wait(1)")
    kernel.wait_for(lambda: "ready" in reply.stdout)
    kernel.interrupt()
    assert kernel.finish(reply).ename == "KeyboardInterrupt"
    cancelled = kernel.run(
        "run = wait.submit(1)\nwhile 'ready' not in run.output: pass\nrun.cancel()\nrun.result()"
    )
    assert cancelled.ename == "Cancelled"
    assert kernel.run("wait(threading.Lock())").ename == "TransferError"
    assert kernel.run("wait.options(cpu=5000)").ename == "AskError"
    assert ok(kernel.run("problem")).result == "'unset'"


def test_more_disk_than_there_is_is_noted(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @small
        @resources(disk=60_000_000)
        def fit(): return 1
        """,
    )
    reply = ok(kernel.run("fit()"))
    assert reply.result == "1"
    assert "asked 60 TB disk, this computer has" in reply.status_lines[-1]
    assert "asked 60 TB disk" in ok(kernel.run("print(fit.plan())")).stdout
    assert "disk" not in "".join(ok(kernel.run("fit.options(disk='100M')()")).status_lines)
    cell = ok(kernel.run("%%remote --disk 60T\n2"))
    assert "asked 60 TB disk, this computer has" in cell.status_lines[-1]


def test_a_stack_reaches_the_machine(shared_kernel: Kernel) -> None:
    kernel = prepared(
        shared_kernel,
        """
        @resources(cpu=0.3, memory=300)
        @remote(cpu=0.2, memory="100M")
        @batch(memory=200)
        def fit(): return 1
        """,
    )
    assert ok(kernel.run("fit()")).result == "1"
    shown = "receipt = jupyter_compute.runs()[0].receipt\nreceipt.cpu, receipt.memory"
    assert ok(kernel.run(shown)).result == "(0.3, 300000000)"
