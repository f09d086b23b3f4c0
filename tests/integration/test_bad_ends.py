"""The catalogue of bad inputs: how runs end, what they print, and functions, rows 39 to 50.

The table in test_bad_input.py says where each row of the catalogue is.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from homes import Home
from kernels import Kernel, ok

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("Odd(threading.Lock())", "__main__.Odd: <unlocked _thread.lock"),
        ("ValueError(threading.Lock(), 'x' * 10_000_000)", "ValueError: (<unlocked _thread.lock"),
        ("Mute()", "__main__.Mute: <Mute whose __str__ raises RuntimeError>"),
    ],
    ids=["unpicklable", "huge", "mute"],
)
def test_row39_an_exception_that_cannot_come_back_is_told(
    kernel: Kernel, raised: str, words: str
) -> None:
    cell = (
        "%%remote\nimport threading\nclass Odd(Exception): pass\nclass Mute(Exception):\n"
        f"    def __str__(self): raise RuntimeError('broken')\nraise {raised}"
    )
    reply = kernel.run(cell)
    assert reply.ename == "RemoteError"
    assert reply.evalue.startswith(words)
    assert "line 6, in <module>" in reply.evalue
    assert f"raise {raised}" in reply.evalue
    assert len(reply.evalue) < 10_000


def test_row39_an_exception_with_huge_arguments_comes_back_whole(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --catch error\nraise ValueError('x' * 1_000_000)"))
    assert ok(kernel.run("type(error), len(error.args[0])")).result == "(ValueError, 1000000)"


_FORKED = "import os, sys\nif not os.fork(): {child}\n"
_STATUS = "os.waitstatus_to_exitcode(os.wait()[1])"


@pytest.mark.parametrize(
    ("code", "result", "printed"),
    [
        (f"{_FORKED.format(child='os._exit(4)')}{_STATUS}", "4", ""),
        (f"{_FORKED.format(child='sys.exit(3)')}{_STATUS}", "3", ""),
        (f"{_FORKED.format(child='1 / 0')}{_STATUS}", "1", "ZeroDivisionError"),
        (f"pid = os.fork()\nif pid: {_STATUS}\nprint('both')\n5", "5", "both\nboth\n"),
        ("import multiprocessing as m\nwith m.Pool(1) as p: r = p.map(abs, [-1])\nr", "[1]", ""),
    ],
    ids=["exit", "sys-exit", "raises", "comes-back", "pool"],
)
def test_row40_a_forked_process_does_not_answer_for_the_run(
    kernel: Kernel, code: str, result: str, printed: str
) -> None:
    reply = ok(kernel.run(f"%%remote\nimport os\n{code}"))
    assert reply.result == result
    assert printed in reply.stdout + reply.stderr


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("raise SystemExit(3)", "SystemExit", "3"),
        ("exit()", "SystemExit", ""),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("import os\nos._exit(7)", "Crashed", "exit code 7"),
    ],
    ids=["SystemExit", "exit", "KeyboardInterrupt", "_exit"],
)
def test_row40_code_that_ends_its_process(
    kernel: Kernel, code: str, error: str, words: str
) -> None:
    pid = kernel.pid
    reply = kernel.run(f"%%remote\n{code}")
    assert (reply.status, reply.ename) == ("error", error)
    assert words in reply.evalue
    assert ok(kernel.run("import os\nos.getpid()")).result == str(pid)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()",
            "thread",
        ),
        ("import subprocess\nleft = subprocess.Popen(['sleep', '99']).pid", "process"),
    ],
    ids=["thread", "process"],
)
def test_row40_what_is_left_running_is_ended_and_named(
    kernel: Kernel, code: str, what: str
) -> None:
    reply = ok(kernel.run(f"%%remote\n{code}"))
    assert f"1 {what} still running at the end: ended" in reply.status_lines[-1]
    if what == "process":
        left = int(ok(kernel.run("left")).result)
        kernel.wait_for(lambda: not Path(f"/proc/{left}").exists(), timeout=10)


def test_row41_a_flood_keeps_its_beginning_and_its_end(kernel: Kernel) -> None:
    cell = (
        "%%remote\nimport os, sys\nprint('\\x1b[31mred\\x1b[0m')\n"
        "for n in range(3): print(f'\\r{n} of 3', end='')\n"
        "os.write(1, b'\\nbad \\xff byte\\n')\nsys.stdout.buffer.write(b'and \\x80\\n')\n"
        "for _ in range(20): sys.stdout.write('x' * 1_000_000)\nprint('\\nthe end')"
    )
    reply = ok(kernel.run(cell))
    head = "\x1b[31mred\x1b[0m\n\r0 of 3\r1 of 3\r2 of 3\nbad \ufffd byte\nand \ufffd\nxxx"
    assert reply.stdout.startswith(head)
    assert reply.stdout.endswith("xxx\nthe end\n")
    assert 8_000_000 < len(reply.stdout) < 10_000_000
    assert "MB of output (0 lines) left out here; the end follows" in reply.status_lines[-1]


def test_row42_markup_in_names_and_messages_is_text(kernel: Kernel) -> None:
    cell = (
        "%%remote --name '<img src=x onerror=alert(1)>' --retries 1 --retry-delay 0.01\n"
        "from IPython.display import HTML, display\ndisplay(HTML('<b>own</b>'))\n"
        "print('<i>text</i>')\nraise ValueError('<script>alert(1)</script>')"
    )
    reply = kernel.run(cell)
    assert reply.displays[0]["text/html"] == "<b>own</b>"
    assert "<i>text</i>" in reply.stdout
    assert "&lt;script&gt;alert(1)" in reply.outputs[0]["data"]["text/html"] + str(reply.visible)
    for one in reply.outputs:
        markup = one.get("data", {}).get("text/html", "")
        assert "<script>" not in markup
        assert "<img" not in markup
    assert "<img src=x onerror=alert(1)>" in ok(kernel.run("%compute runs")).stdout


def _gate(home: Home, name: str) -> Path:
    """Make a place where a cell waits until somebody writes there."""
    path = home.notebooks / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def _open(gate: Path) -> None:
    gate.write_text(gate.name[-1])


def test_row44_running_a_background_cell_again_leaves_the_first_one_alone(
    kernel: Kernel, shared_home: Home
) -> None:
    gates = [_gate(shared_home, "gate1"), _gate(shared_home, "gate2")]
    cell = "%%remote --bg job --cpu 0.1 --memory 256M\nmade = open(gate).read()\nmade"
    ok(kernel.run(f"gate = {str(gates[0])!r}"))
    assert ok(kernel.run(cell)).status_lines[-1] == "▸ queued"
    first = ok(kernel.run(f"first, gate = job, {str(gates[1])!r}\njob.id")).result.strip("'")
    again = ok(kernel.run(cell))
    assert f"job was {first}, which goes on: %compute cancel {first}" in again.status_lines[0]
    for gate in gates:
        _open(gate)
    assert ok(kernel.run("first.result(), job.result(), made")).result == "('1', '2', '2')"
    third = ok(kernel.run(cell.replace("open(gate).read()", "3")))
    assert "goes on" not in third.status_lines[0]
    assert ok(kernel.run("job.result()")).result == "3"


def test_row44_a_kernel_that_restarts_in_the_middle_of_a_cell_finds_its_run(
    kernel: Kernel, shared_home: Home
) -> None:
    gate = _gate(shared_home, "gate3")
    reply = kernel.start(f"%%remote\nprint('ready')\nmade = open({str(gate)!r}).read()\nmade")
    kernel.wait_for(lambda: "ready" in reply.stdout)
    os.kill(kernel.pid, signal.SIGKILL)  # a restart by itself may interrupt the cell first
    kernel.restart()
    ok(kernel.run("%load_ext jupyter_compute\nimport jupyter_compute"))
    assert ok(kernel.run("run = jupyter_compute.runs()[0]\nrun.state")).result == "'running'"
    replayed = ok(kernel.run("again = jupyter_compute.attach(run.id)"))
    _open(gate)
    assert ok(kernel.run("again.result(), made")).result == "('3', '3')"
    kernel.wait_for(lambda: replayed.stdout == "ready\n")


_FUNCTIONS = """
import functools, threading
from jupyter_compute import remote
def plain(x=None): return x
def lazy(): yield 1
class Point:
    @remote
    def scale(self, x): return type(self).__name__, x
    @staticmethod
    @remote
    def negate(x): return -x
    @remote
    @staticmethod
    def above(x): return x + 1
    @classmethod
    @remote
    def named(cls): return cls.__name__
    def __call__(self, x): return 3 * x
"""


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("remote(Point)", "TypeError", "Point is a class; decorate its methods"),
        ("remote(lazy)", "TypeError", "a generator would have to stay remote; return a list"),
        ("remote(3)", "TypeError", "this is of type int"),
        ("remote(plain)(threading.Lock())", "TransferError", "argument 1 cannot be sent"),
        ("remote(plain)(x=[threading.Lock()])", "TransferError", "argument x[0] is a lock"),
        ("remote(plain).map()", "TypeError", "map needs at least one iterable"),
        ("remote(plain).map(5)", "TypeError", "'int' object is not iterable"),
        ("remote(plain).map([1], [1, 2])", "ValueError", "the iterables differ in length: 1, 2"),
    ],
)
def test_row50_what_cannot_be_called_remotely_is_refused(
    kernel: Kernel, call: str, error: str, words: str
) -> None:
    ok(kernel.run(_FUNCTIONS))
    reply = kernel.run(call)
    assert (reply.status, reply.ename) == ("error", error)
    assert words in reply.evalue
    assert "jupyter_compute/" not in reply.traceback
    assert reply.status_lines == []


def test_row50_a_wrong_number_of_arguments_is_the_functions_own_error(kernel: Kernel) -> None:
    ok(kernel.run(_FUNCTIONS))
    reply = kernel.run("remote(plain)(1, 2)")
    assert (reply.status, reply.ename) == ("error", "TypeError")
    assert "takes from 0 to 1 positional arguments" in reply.evalue
    assert "jupyter_compute/" not in reply.traceback


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("remote(lambda x: x + 1)(1), remote(len)('abc'), remote('x'.upper)()", "(2, 3, 'X')"),
        ("Point().scale(2), Point.negate(3), Point.above(1)", "(('Point', 2), -3, 2)"),
        ("Point().named(), Point.named(), remote(Point())(2)", "('Point', 'Point', 6)"),
        ("remote(remote(cpu=2)(plain))(4), remote(functools.partial(plain, 3))()", "(4, 3)"),
        ("remote(plain)(None) is None, len(remote(plain)(b'x' * 5_000_000))", "(True, 5000000)"),
    ],
    ids=["functions", "methods", "classes", "decorated", "arguments"],
)
def test_row50_everything_else_that_can_be_called_is(kernel: Kernel, call: str, value: str) -> None:
    ok(kernel.run(_FUNCTIONS))
    assert ok(kernel.run(call)).result == value
