"""The catalogue of bad inputs: values and results that make trouble, rows 26 to 38.

The table in test_bad_input.py says where each row of the catalogue is. Values of every
kind, one by one, are in tests/notebook/test_culprits.py and test_hostile_objects.py.
"""

from __future__ import annotations

import textwrap

import pytest

from homes import Home
from kernels import Kernel, ok, recent_runs

pytestmark = pytest.mark.slow


def _define(kernel: Kernel, code: str) -> None:
    ok(kernel.run(textwrap.dedent(code)))


def _not_sent(kernel: Kernel, cell: str) -> str:
    """Run a cell whose values cannot be sent; return what the user sees."""
    before = recent_runs(kernel)
    reply = kernel.run(cell)
    assert (reply.status, reply.ename) == ("error", "TransferError"), reply
    assert reply.status_lines == []
    assert "jupyter_compute/" not in reply.traceback
    assert recent_runs(kernel) == before
    return reply.evalue


def test_row26_all_that_cannot_be_pickled_is_named_with_its_place(kernel: Kernel) -> None:
    _define(
        kernel,
        """
        import socket, sqlite3, sys, threading, weakref
        class Model: pass
        model = Model(); model.cache = Model(); model.cache._lock = threading.Lock()
        sock = socket.socket(); sock.close()
        base = sqlite3.connect(':memory:'); base.close()
        lazy = (n for n in [1])
        frame = sys._getframe()
        thread = threading.Thread(target=print)
        async def later(): pass
        soon = later(); soon.close()
        ref = weakref.ref(model)
        fine = 3
        """,
    )
    said = _not_sent(kernel, "%%remote\nmodel, sock, base, lazy, frame, thread, soon, ref, fine")
    for line in (
        "model: model.cache._lock is a lock; create it inside the cell that uses it",
        "sock: it is a socket;",
        "base: it is a database connection;",
        "lazy: it is a generator; make it a list first: list(lazy)",
        "frame: it is a frame or traceback;",
        "thread: it is a thread;",
        "soon: it is a coroutine; await it first",
        "ref: it is a weak reference; use the object itself",
    ):
        assert line in said
    assert "fine" not in said


def test_row27_objects_that_fail_while_they_are_pickled(kernel: Kernel) -> None:
    _define(
        kernel,
        """
        class Bad:
            def __reduce__(self): raise RuntimeError('no way')
        class Endless:
            def __reduce__(self): return list, (), None, iter([Endless()])
        bad, endless, deep = {'k': Bad()}, Endless(), []
        for _ in range(100_000): deep = [deep]
        """,
    )
    said = _not_sent(kernel, "%%remote\nbad, endless, deep")
    assert "bad: bad['k'] (of type Bad) cannot be pickled: RuntimeError: no way" in said
    assert "endless: it is nested too deeply" in said
    assert "deep: it is nested too deeply to be pickled; flatten it" in said
    assert "__reduce__" not in kernel.run("%%remote\nbad").traceback
    assert ok(kernel.run("6 * 7")).result == "42"


def test_row28_an_open_file_is_not_replaced_by_its_text(kernel: Kernel) -> None:
    _define(kernel, "open('row28', 'w').close()\nfile = open('row28')\nbox = [file]")
    assert "it is an open file; pass its path" in _not_sent(kernel, "%%remote\nfile.read()")
    assert "box[0] is an open file" in _not_sent(kernel, "%%remote\nbox")
    ok(kernel.run("file.close()"))


def test_row29_modules_loggers_lambdas_and_classes_of_the_notebook(kernel: Kernel) -> None:
    _define(
        kernel,
        """
        import logging, os.path as p
        log, double = logging.getLogger('mine'), lambda x: 2 * x
        class Point:
            def __init__(self, x): self.x = x
        point = Point(3)
        """,
    )
    cell = (
        "%%remote\nsame = isinstance(point, Point)\nother = Point(double(point.x))\n"
        "log.warning('seen %s', p.join('a', 'b'))"
    )
    assert "seen a/b" in ok(kernel.run(cell)).stderr
    seen = "same, type(other) is Point, other.x, isinstance(point, Point)"
    assert ok(kernel.run(seen)).result == "(True, True, 6, True)"


def test_row30_more_than_the_run_may_hold_is_refused_before_it_is_stored(kernel: Kernel) -> None:
    _define(
        kernel,
        """
        from pathlib import Path
        from jupyter_compute import places, remote
        def stored(): return sum(f.stat().st_size for d in places.blob_dirs() for f in Path(d).glob('*'))
        big, small = bytearray(200_000_000), 1
        before = stored()
        """,
    )
    runs = recent_runs(kernel)
    reply = kernel.run("%%remote --memory 100M\nlen(big) + small")
    assert reply.ename == "UsageError"
    assert reply.stderr == (
        "UsageError: what the code reads takes 200 MB (big: 200 MB), and the run asks for only "
        "100 MB of memory; e.g. --memory 401M\n"
    )
    assert kernel.run("remote(memory='100M')(len)(big)").ename == "AskError"
    plan = ok(kernel.run("%%remote --memory 100M --plan\nlen(big) + small")).stdout
    assert "would be refused: 200 MB to send, more than it may use" in plan
    assert ok(kernel.run("stored() - before < 1_000_000")).result == "True"
    assert recent_runs(kernel) == runs
    assert ok(kernel.run("%%remote --memory 100M..401M\nsmall")).result == "1"


def test_row31_names_that_hide_builtins_or_ours_win(kernel: Kernel) -> None:
    _define(
        kernel,
        """
        id, remote, list, df = 5, 7, [1], 'frame'
        job, values, shell, channel, payload, namespace = range(6)
        show = print
        def print(*words): show('mine', *words)
        """,
    )
    reply = ok(kernel.run("%%remote\nprint(id, remote, list, df)\nid = 6\ninput = 3"))
    assert reply.stdout == "mine 5 7 [1] frame\n"
    reply = ok(kernel.run("%%remote\n[job, values, shell, channel, payload, namespace]"))
    assert reply.result == "[0, 1, 2, 3, 4, 5]"
    assert ok(kernel.run("id, input")).result == "(6, 3)"


def test_row32_names_in_any_script_are_normalised_as_python_does(kernel: Kernel) -> None:
    _define(kernel, "\ufb01 = 2\nna\u00efve = 3\n\u53d8\u91cf = 4")
    ok(kernel.run("%%remote\n\ufb01 = \ufb01 + 1\n\u210c = na\u00efve + \u53d8\u91cf"))
    assert ok(kernel.run("fi, H, '\ufb01' in globals()")).result == "(3, 7, False)"


def test_row33_a_name_that_is_missing_is_missing_there(kernel: Kernel) -> None:
    reply = kernel.run("%%remote\nx = 1\nnope + x")
    assert (reply.ename, reply.evalue) == ("NameError", "name 'nope' is not defined")
    assert "----> 3 nope + x" in reply.traceback
    assert "--in" not in reply.traceback
    _define(kernel, "hidden = 3")
    for code in ("eval('hid' + 'den')", "from math import *\nexec('y = hid' + 'den')"):
        assert "--in hidden sends it" in kernel.run(f"%%remote\n{code}").traceback


def test_row34_names_are_bound_and_deleted_as_locally(kernel: Kernel) -> None:
    _define(kernel, "a = b = n = 1\nc = [1]\ndef bump():\n    global n\n    n += 1")
    cell = (
        "%%remote\ndel a\nb += 5\nc += [2]\nif (w := 10) > 5: bump()\n"
        "def inner():\n    global g\n    g = 4\ninner()"
    )
    ok(kernel.run(cell))
    seen = ok(kernel.run("'a' in globals(), b, c, w, n, g")).result
    assert seen == "(False, 6, [1, 2], 10, 2, 4)"
    assert kernel.run("%%remote\ndel nothing").ename == "NameError"
    assert kernel.run("%%remote\nunbound += 1").ename == "NameError"


def test_row35_coroutines_run_on_a_loop_of_the_runs_own(kernel: Kernel) -> None:
    _define(
        kernel,
        """
        from jupyter_compute import remote
        @remote
        async def later(x):
            import asyncio
            await asyncio.sleep(0)
            return 2 * x
        """,
    )
    cell = "import asyncio\nasync def f(): return 4\nawait asyncio.sleep(0)\nmade = await f()\nmade"
    assert ok(kernel.run(f"%%remote\n{cell}")).result == "4"
    assert ok(kernel.run("made, await later(4), await later.submit(5)")).result == "(4, 8, 10)"


def test_row37_what_cannot_come_back_stays_and_the_rest_comes(kernel: Kernel) -> None:
    cell = (
        "%%remote\nimport threading\ng = (n for n in [1])\nlock = threading.Lock()\n"
        "async def f(): pass\nsoon = f()\nsoon.close()\npair = iter([1, 2])\nother = 3"
    )
    said = ok(kernel.run(cell)).status_lines[-1]
    assert "g stays behind: it is a generator; make it a list first: list(g)" in said
    assert "lock stays behind: it is a lock" in said
    assert "soon stays behind: it is a coroutine" in said
    seen = "other, list(pair), [n for n in ('g', 'lock', 'soon') if n in globals()]"
    assert ok(kernel.run(seen)).result == "(3, [1, 2], [])"
    asked = kernel.run("%%remote --out g\ng = (n for n in [1])")
    assert (asked.ename, asked.evalue[:26]) == ("TransferError", "g cannot be brought back: ")
    _define(kernel, "from jupyter_compute import remote")
    called = kernel.run("remote(lambda: (n for n in [1]))()")
    assert "the returned value cannot be brought back: it is a generator" in called.evalue


def test_row38_a_result_of_a_module_that_is_not_here_waits_for_it(
    kernel: Kernel, shared_home: Home
) -> None:
    module = (
        "import sys, types\nmodule = types.ModuleType('elsewhere')\n"
        "exec('class Thing: size = 4', vars(module))\nsys.modules['elsewhere'] = module\n"
    )
    made = "thing, other = module.Thing(), 1\ndel module"
    reply = kernel.run(f"%%remote\n{module}{made}")
    assert reply.ename == "TransferError"
    assert "No module named 'elsewhere'" in reply.evalue
    run_id = recent_runs(kernel)[0]
    assert f"attach('{run_id}').result() brings it" in reply.evalue
    # A pool that ends keeps the results that no notebook has, and no others.
    ok(kernel.run("%compute stop"))
    alive = shared_home.processes
    kernel.wait_for(lambda: not any("jupyter_compute.pool" in line for line in alive().values()))
    _define(kernel, f"import jupyter_compute\n{module}")
    ok(kernel.run(f"jupyter_compute.attach('{run_id}').result()"))
    assert ok(kernel.run("thing.size, other")).result == "(4, 1)"
