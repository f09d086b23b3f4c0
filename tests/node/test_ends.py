"""However an attempt ends: its envelope says why, neighbours go on, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from bench import Bench, gone

from jupyter_compute.node import attempt, nursery
from jupyter_compute.policy.lifecycle import Timers

SPIN = "import os\nprint('pid', os.getpid())\nwhile True: pass"


def test_too_much_memory(bench: Bench) -> None:
    source = "b = []\nwhile True:\n    b.append(bytearray(b'1') * 2**24)"
    envelope = bench.cell(source, memory=300 * 10**6).envelope
    assert (envelope["outcome"], envelope["reason"]) == ("died", "memory")
    assert envelope["limit"] == 300 * 10**6
    assert envelope["peak"] > envelope["limit"]
    assert "line 4 in <module>" in envelope["stack"]


def test_memory_of_the_whole_tree_counts(bench: Bench) -> None:
    source = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'b = bytearray(400_000_000); input()'],"
        " stdin=subprocess.PIPE)\n"
    )
    source = source.replace("subprocess.run(", "p = subprocess.Popen(") + "p.wait()"
    assert bench.cell(source, memory=200 * 10**6).envelope["reason"] == "memory"


def test_pages_shared_by_forked_processes_count_once(bench: Bench) -> None:
    source = (
        "import os, time\nb = bytearray(b'1') * 120_000_000\n"
        "pids = [os.fork() for _ in range(1)]\n"
        "if pids[0] == 0:\n    time.sleep(.5); os._exit(0)\nos.waitpid(pids[0], 0)\ndel b\n'fine'"
    )
    assert bench.cell(source, memory=200 * 10**6).result.last == "fine"


def test_a_neighbour_is_not_harmed(bench: Bench) -> None:
    hog = "b = []\nwhile True:\n    b.append(bytearray(b'1') * 2**24)"

    async def both() -> tuple[str, str]:
        neighbour = asyncio.ensure_future(bench.start("import time\ntime.sleep(1)\n'fine'"))
        _, ran = await bench.start(hog, memory=200 * 10**6)
        return ran.envelope["reason"], (await neighbour)[1].result.last

    assert bench.loop.run(both()) == ("memory", "fine")


def test_timeout_says_where_the_code_was(bench: Bench) -> None:
    envelope = bench.cell("def f():\n    while True: pass\nf()", timeout_s=0.3).envelope
    assert (envelope["reason"], envelope["limit"]) == ("timeout", 0.3)
    assert "line 3 in f" in envelope["stack"]
    assert "line 4 in <module>" in envelope["stack"]
    assert "jupyter_compute" not in envelope["stack"]


def test_timeout_while_c_code_holds_the_interpreter(bench: Bench) -> None:
    source = "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')"
    assert bench.cell(source, timeout_s=0.3).envelope["reason"] == "timeout"


def test_segfault(bench: Bench) -> None:
    envelope = bench.cell("print('about to')\nimport ctypes\nctypes.string_at(0)").envelope
    assert (envelope["reason"], envelope["signal"]) == ("crash", "SIGSEGV")
    assert envelope["tail"] == "about to\n"
    assert "line 4 in <module>" in envelope["stack"]


def test_os_exit(bench: Bench) -> None:
    envelope = bench.cell("import os\nos._exit(7)").envelope
    assert (envelope["reason"], envelope["exit_code"]) == ("crash", 7)


def test_sys_exit_is_the_codes_own_exception(bench: Bench) -> None:
    error = bench.cell("import sys\nsys.exit(3)").result.error
    assert isinstance(error, SystemExit)
    assert error.code == 3


def test_an_exception_keeps_type_frames_cause_and_notes(bench: Bench) -> None:
    error = bench.cell(
        "def f():\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n"
        "        e2 = ValueError('bad', 7)\n        e2.add_note('a note')\n        raise e2 from e\nf()"
    ).result.error
    assert isinstance(error, ValueError)
    assert error.args == ("bad", 7)
    assert error.__notes__ == ["a note"]
    assert isinstance(error.__cause__, ZeroDivisionError)
    lines = []
    trace = error.__traceback__
    while trace is not None:
        lines.append((trace.tb_frame.f_code.co_name, trace.tb_lineno))
        trace = trace.tb_next
    assert lines == [("<module>", 9), ("f", 8)]


def test_an_exception_with_an_odd_constructor_comes_back(bench: Bench) -> None:
    source = (
        "class Odd(Exception):\n    def __init__(self, a, b):\n        super().__init__('odd')\n"
        "        self.a = a\nraise Odd(1, 2)"
    )
    error = bench.cell(source).result.error
    assert type(error).__name__ == "Odd"
    assert error.a == 1  # type: ignore[union-attr]


def test_an_exception_that_cannot_be_pickled_is_described(bench: Bench) -> None:
    ran = bench.cell(
        "import threading\nclass Bad(ValueError):\n    def __init__(self):\n"
        "        super().__init__('no pickle')\n        self.l = threading.Lock()\nraise Bad()"
    )
    assert ran.result.error is None
    envelope = ran.envelope
    assert (envelope["type"], envelope["message"]) == ("Bad", "no pickle")
    assert "ValueError" in envelope["mro"]
    assert "raise Bad()" in envelope["traceback"]


def test_an_exception_whose_str_raises_is_described(bench: Bench) -> None:
    ran = bench.cell("class E(Exception):\n    def __str__(self): raise KeyError('x')\nraise E()")
    assert (ran.envelope["outcome"], ran.envelope["type"]) == ("error", "E")
    assert "KeyError" in ran.envelope["message"]


def interrupted(bench: Bench, source: str, *actions: str) -> dict[str, object]:
    async def run() -> dict[str, object]:
        attempt = bench.next()
        going = asyncio.ensure_future(bench.go(attempt, source))
        await bench.until(attempt, "pid")
        for action in actions:
            bench.runner.stop(attempt, action)
        ran = await going
        assert gone(int(ran.text().split()[1]))
        return ran.envelope

    return bench.loop.run(run())


def test_interrupt_is_a_keyboard_interrupt(bench: Bench) -> None:
    envelope = interrupted(bench, SPIN, "interrupt")
    assert (envelope["outcome"], envelope["type"]) == ("error", "KeyboardInterrupt")


def test_interrupted_code_may_clean_up(bench: Bench) -> None:
    source = (
        "import os, time\nprint('pid', os.getpid())\ntry:\n    time.sleep(60)\n"
        "finally:\n    print('cleaned')"
    )
    envelope = interrupted(bench, source, "interrupt")
    assert envelope["type"] == "KeyboardInterrupt"


def test_a_second_interrupt_kills_at_once(bench: Bench) -> None:
    source = (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('pid', os.getpid())\nwhile True: pass"
    )
    envelope = interrupted(bench, source, "interrupt", "kill")
    assert (envelope["outcome"], envelope["reason"]) == ("died", "killed")


def test_code_that_ignores_interrupts_is_ended_by_the_ladder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(attempt, "TIMERS", Timers(interrupt_s=0.1, terminate_s=0.1))
    source = (
        "import os, signal\nfor s in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(s, signal.SIG_IGN)\nprint('pid', os.getpid())\nwhile True: pass"
    )
    assert interrupted(bench, source, "interrupt")["reason"] == "interrupted"


def test_an_attempt_is_interrupted_before_its_child_runs(bench: Bench) -> None:
    async def run() -> str:
        attempt = bench.next()
        going = asyncio.ensure_future(bench.go(attempt, SPIN))
        await asyncio.sleep(0)
        bench.runner.stop(attempt, "interrupt")
        envelope = (await going).envelope
        return envelope.get("reason") or envelope["type"]

    # The second, if the child was faster.
    assert bench.loop.run(run()) in {"interrupted", "KeyboardInterrupt"}


def test_inputs_that_cannot_be_loaded_are_a_transfer_error(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("class Thing: pass\n")
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path))
        import only_here  # type: ignore[import-not-found]

        bench.namespace["thing"] = only_here.Thing()
        here.undo()
        (tmp_path / "only_here.py").unlink()
        envelope = bench.cell("thing", ["thing"]).envelope
    assert (envelope["outcome"], envelope["reason"]) == ("died", "transfer")
    assert "No module named 'only_here'" in envelope["message"]


def test_an_interpreter_that_does_not_exist(bench: Bench) -> None:
    envelope = bench.cell("1", interpreter="/nowhere/python").envelope
    assert envelope["reason"] == "start"
    assert "/nowhere/python" in envelope["message"]


def test_an_interpreter_without_ipython(bench: Bench) -> None:
    envelope = bench.cell("1", interpreter="/usr/bin/true").envelope
    assert envelope["reason"] == "start"


def test_when_the_fork_server_dies_its_children_do_and_the_next_cell_runs(bench: Bench) -> None:
    async def run() -> int:
        attempt = bench.next()
        going = asyncio.ensure_future(bench.go(attempt, SPIN))
        await bench.until(attempt, "pid")
        pid = int(bench.live[attempt].text().split()[1])
        os.kill(psutil.Process(pid).ppid(), 9)
        ran = await going
        assert ran.envelope["reason"] == "crash"
        return pid

    assert gone(bench.loop.run(run()))
    assert bench.cell("1 + 1").result.last == 2


def test_a_fork_server_that_hangs_is_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as impatient:
        for module in (attempt, nursery):
            impatient.setattr(module, "TIMERS", Timers(launch_deadline_s=1))
        pid = bench.cell("import os\nos.getppid()").result.last
        os.kill(pid, signal.SIGSTOP)
        # A spare child may be ready for the first.
        ends = [bench.cell("1 + 1").envelope]
        if ends[-1]["outcome"] == "ok":
            ends.append(bench.cell("1 + 1").envelope)
    assert "did not answer for 1 s" in ends[-1]["message"], ends
    assert gone(pid)
    assert bench.cell("1 + 1").result.last == 2


def test_closing_a_runner_ends_everything(tmp_path: Path) -> None:
    own = Bench(tmp_path)
    attempt = own.next()

    async def run() -> int:
        going = asyncio.ensure_future(own.go(attempt, SPIN))
        await own.until(attempt, "pid")
        own.runner.close()
        assert (await going).envelope["outcome"] == "died"
        return int(own.live[attempt].text().split()[1])

    pid = own.loop.run(run())
    own.loop.close()
    assert gone(pid)


def test_code_that_allocates_at_once_meets_the_kernels_limit(bench: Bench) -> None:
    if bench.runner._groups is None:
        pytest.skip("this host gives us no control groups")
    envelope = bench.cell("b = bytearray(b'1') * 2**31", memory=300 * 10**6).envelope
    assert envelope["reason"] == "memory"
    assert envelope["peak"] < 900 * 10**6
