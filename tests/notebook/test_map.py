"""``.map`` as a notebook sees it: real kernels, real processes."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from homes import Home
from jupyter_compute import remote
from jupyter_compute.errors import AskError
from kernels import Kernel, Reply, ok

pytestmark = pytest.mark.slow


def value(reply: Reply) -> Any:
    assert reply.status == "ok", reply
    return ast.literal_eval(reply.result)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"chunk": 0}, "chunk: 0 is no whole number above 0 or auto"),
        ({"chunk": "many"}, "chunk: 'many'"),
        ({"window": -1}, "window: -1"),
        ({"window": True}, "window: True"),
        ({"errors": "ignore"}, "errors: 'ignore' is none of raise, return, skip"),
        ({"ordered": 1}, "ordered: 1"),
    ],
)
def test_bad_arguments_are_refused_at_once(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(AskError, match=words):
        remote(abs).map([1], **keywords)


def test_results_come_in_order_with_the_globals_of_the_notebook(notebook: Kernel) -> None:
    ok(notebook.run("K = 10\n@remote\ndef f(a, b=2):\n    return K * a + b"))
    assert value(notebook.run("list(f.map([3, 1, 2]))")) == [32, 12, 22]
    assert value(notebook.run("list(f.map([3, 1], [5, 6]))")) == [35, 16]
    assert value(notebook.run("K = 1\nlist(f.map(range(1000))) == [k + 2 for k in range(1000)]"))
    assert value(notebook.run("len(f.map([3, 1])), list(f.map([]))")) == (2, [])


def test_every_kind_of_function_maps(notebook: Kernel) -> None:
    ok(
        notebook.run(
            """
            import asyncio, functools
            class Model:
                k = 3
                @remote
                def times(self, x): return self.k * x
            @remote
            async def later(x):
                await asyncio.sleep(0)
                return -x
            """
        )
    )
    assert value(notebook.run("list(Model().times.map(range(3)))")) == [0, 3, 6]
    assert value(notebook.run("list(later.map(range(3)))")) == [0, -1, -2]
    assert value(notebook.run("list(remote(lambda a: a + 1).map(range(3)))")) == [1, 2, 3]
    partial = "list(remote(functools.partial(pow, 2)).map(range(3)))"
    assert value(notebook.run(partial)) == [1, 2, 4]
    inside = "remote(lambda: list(later.map(range(3))))()"
    assert value(notebook.run(inside)) == [0, -1, -2]


@pytest.mark.parametrize(
    ("errors", "shown"),
    [("return", "[0, 'ValueError', 2, 3, 'ValueError', 5]"), ("skip", "[0, 2, 3, 5]")],
)
def test_failed_items_are_results_or_left_out(notebook: Kernel, errors: str, shown: str) -> None:
    ok(
        notebook.run(
            """
            @remote
            def odd(x):
                if x % 3 == 1: raise ValueError(x)
                return x
            """
        )
    )
    reply = notebook.run(
        f"[type(r).__name__ if isinstance(r, Exception) else r"
        f" for r in odd.map(range(6), errors={errors!r})]"
    )
    assert value(reply) == ast.literal_eval(shown)
    assert "6 items" in reply.status_lines[-1]


def test_a_failed_item_is_raised_in_its_turn_with_its_own_frames(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        @remote
        def f(x):
            if x == 3: raise KeyError("no such")
            return x
        seen = []
        for r in f.map(range(1000)):
            seen.append(r)
        """
    )
    assert (reply.status, reply.ename) == ("error", "KeyError")
    assert "if x == 3: raise KeyError" in reply.traceback
    assert "item 3 of the map" in reply.traceback
    assert "jupyter_compute" not in reply.traceback
    assert value(notebook.run("seen")) == [0, 1, 2]
    assert reply.status_lines[-1].startswith("✗ KeyError")
    assert value(notebook.run("runs()[0].state")) == "failed"


def test_caught_items_are_none_and_the_others_go_on(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        from jupyter_compute import catch
        @catch(var="problem")
        @remote
        def f(x):
            return 1 // x
        list(f.map([1, 0, 1])), repr(problem)
        """
    )
    assert value(reply) == (
        [1, None, 1],
        repr(ZeroDivisionError("integer division or modulo by zero")),
    )
    assert "@catch caught an exception from f" in reply.stdout
    reply = notebook.run("list(f.map([1, 1])), problem")
    assert value(reply) == ([1, 1], None)


def test_an_interrupt_of_an_item_is_not_caught_and_ends_the_map(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        from jupyter_compute import catch
        @catch
        @remote
        def f(x):
            if x == 1: raise KeyboardInterrupt
            return x
        list(f.map(range(4)))
        """
    )
    assert reply.ename == "KeyboardInterrupt"
    assert value(notebook.run("runs()[0].state")) == "failed"
    assert reply.status_lines[-1].startswith("✗ KeyboardInterrupt")


def test_large_results_and_items_leave_no_blobs_behind(own: Kernel) -> None:
    count = "sum(1 for d in session.blobs().directories if d.is_dir() for _ in d.iterdir())"
    ok(
        own.run(
            """
            import numpy as np
            from jupyter_compute.notebook import session
            @remote
            def f(a): return a + 1
            def parts():
                for n in range(40): yield np.full(100_000, float(n))
            list(f.map(range(3)))
            """
        )
    )
    before = value(own.run(count))
    assert value(own.run("[float(a[-1]) for a in f.map(parts())] == [n + 1.0 for n in range(40)]"))
    assert value(own.run(count)) <= before + 2


def test_maps_that_are_used_in_turns_take_turns(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        f, g = remote(lambda x: x + 1), remote(lambda x: 2 * x)
        list(f.map(range(3)))
        nested = [(a, b) for a in f.map(range(3)) for b in g.map(range(2))]
        together = sum(a + b for a, b in zip(f.map(range(50)), g.map(range(50))))
        nested, together, list(f.map(g.map(range(3))))
        """
    )
    nested = [(a, b) for a in (1, 2, 3) for b in (0, 2)]
    assert value(reply) == (nested, 1275 + 2450, [1, 3, 5])


def test_the_run_of_a_map_has_no_result_of_its_own(notebook: Kernel) -> None:
    ok(notebook.run("m = remote(lambda x: -x).map(range(3))\nfirst = next(m)"))
    refused = notebook.run("import jupyter_compute\njupyter_compute.attach(m.run_id).result()")
    assert refused.ename == "ComputeError"
    assert "is a map: its results go to whoever iterates it" in refused.evalue
    assert value(notebook.run("first, list(m)")) == (0, [-1, -2])


def test_an_endless_iterator_is_read_no_further_than_the_window(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import itertools
        read = []
        def endless():
            for n in itertools.count():
                read.append(n)
                yield n
        m = remote(abs).map(endless(), window=10)
        before = len(read)
        first = [next(m) for _ in range(5)]
        m.cancel()
        before, first, len(read) <= 5 + 10, list(m)
        """
    )
    assert value(reply) == (0, [0, 1, 2, 3, 4], True, [])


def test_results_may_come_as_they_are_ready(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import time
        @remote
        def f(x):
            time.sleep(2 if x == 0 else 0.01)
            return x
        list(f.map(range(20), ordered=False))
        """
    )
    found = value(reply)
    assert sorted(found) == list(range(20))
    assert found[0] != 0


def test_a_map_that_is_left_is_cancelled(notebook: Kernel) -> None:
    ok(
        notebook.run(
            """
            import itertools, time
            @remote
            def f(x):
                time.sleep(0.01)
                return x
            for r in f.map(itertools.count()):
                if r == 20: break
            """
        )
    )
    state = "runs()[0].state"
    notebook.wait_for(lambda: value(notebook.run(state)) == "cancelled", 20)


def test_output_and_progress_appear_under_the_cell(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import time
        @remote
        def f(x):
            if x % 30 == 0: print("at", x)
            time.sleep(0.03)
            return x
        total = sum(f.map(range(90)))
        """
    )
    assert sorted(reply.stdout.split("\n")) == ["", "at 0", "at 30", "at 60"]
    running = [line for line in reply.status_lines if "of 90 items" in line]
    assert running, reply.status_lines
    assert "at once" in running[-1]
    assert "left" in running[-1]
    assert reply.status_lines[-1].startswith("✓ 90 items · ")


def test_an_interrupt_ends_the_map_and_its_processes(own: Kernel, home: Home) -> None:
    ok(own.run("import time\nf = remote(lambda x: time.sleep(0.01) or x)\nlist(f.map(range(4)))"))
    running = own.start("for r in f.map(range(10**6)):\n    if r == 0: print('begun')")
    own.wait_for(lambda: "begun" in running.stdout)
    own.interrupt()
    own.finish(running, 20)
    assert running.ename == "KeyboardInterrupt"
    own.wait_for(lambda: value(own.run("runs()[0].state")) == "cancelled", 20)
    assert value(own.run("list(f.map(range(4)))")) == [0, 1, 2, 3]


def test_two_threads_may_share_a_map(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import threading, time
        def rebuild(x):
            time.sleep(0.2)
            return x
        class Slow:
            def __init__(self, x): self.x = x
            def __reduce__(self): return rebuild, (self.x,)
        m, found, problems = remote(lambda x: Slow(x)).map(range(8)), [], []
        def take():
            try:
                for r in m: found.append(r)
            except BaseException as error:
                problems.append(repr(error))
        threads = [threading.Thread(target=take) for _ in range(3)]
        [thread.start() for thread in threads], [thread.join(40) for thread in threads]
        sorted(found), problems
        """
    )
    assert value(reply) == ([*range(8)], [])


def test_what_the_items_raise_has_the_frames_of_the_notebook_only(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        def items():
            yield 1
            raise RuntimeError("no more")
        list(remote(abs).map(items()))
        """
    )
    assert (reply.ename, reply.evalue) == ("RuntimeError", "no more")
    assert "raise RuntimeError" in reply.traceback
    assert "jupyter_compute" not in reply.traceback


def test_a_map_in_a_run_has_a_length_too(notebook: Kernel) -> None:
    inside = "remote(lambda: len(remote(abs).map([1, -2])))()"
    assert value(notebook.run(inside)) == 2
