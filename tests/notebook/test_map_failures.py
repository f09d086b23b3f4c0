"""``.map`` when items, processes, machines or the service fail."""

from __future__ import annotations

import ast
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernels import Kernel, Reply, ok

pytestmark = pytest.mark.slow


def value(reply: Reply) -> Any:
    assert reply.status == "ok", reply
    return ast.literal_eval(reply.result)


def test_only_the_failed_item_is_tried_again(notebook: Kernel, tmp_path: Path) -> None:
    ok(
        notebook.run(
            f"""
            import os
            @remote(retries=2, retry_delay=0.01)
            def f(x):
                with open(f"{tmp_path}/{{x}}", "a") as file:
                    file.write(".")
                if x == 3 and os.path.getsize(f"{tmp_path}/3") < 3: raise OSError
                return x
            """
        )
    )
    assert value(notebook.run("list(f.map(range(6)))")) == list(range(6))
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert sizes == {str(n): 3 if n == 3 else 1 for n in range(6)}


def test_a_crash_costs_only_the_item_that_crashed(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import os
        @remote
        def f(x):
            if x == 500: os.kill(os.getpid(), 11)
            return x
        r = list(f.map(range(1000), errors="return"))
        type(r[500]).__name__, r[500].signal, r[:500] + r[501:] == [*range(500), *range(501, 1000)]
        """
    )
    assert value(reply) == ("Crashed", "SIGSEGV", True)


def test_a_timeout_is_for_each_item(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import time
        @remote(timeout=1)
        def f(x):
            time.sleep(30 if x == 2 else 0.3)
            return x
        [getattr(r, "limit", r) for r in f.map(range(8), errors="return")]
        """
    )
    assert value(reply) == [0, 1, 1.0, 3, 4, 5, 6, 7]


def test_an_item_that_needs_more_memory_gets_it(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import time
        @remote(memory="200M..800M")
        def f(x):
            filled = bytearray(300_000_000 if x == 1 else 10)
            time.sleep(x)  # Held for long enough to be seen.
            return len(filled)
        list(f.map(range(3)))
        """
    )
    assert value(reply) == [10, 300_000_000, 10]
    refused = notebook.run("list(f.options(memory='200M').map(range(3)))")
    assert refused.ename == "OutOfMemory"
    assert "--memory 200M" in refused.traceback


def test_what_cannot_travel_is_named_and_harms_no_other_item(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import threading
        @remote
        def f(x): return threading.Lock() if x == 1 else x
        lock = threading.Lock()
        [str(r) for r in f.map([0, 1, lock, 3], errors="return")]
        """
    )
    zero, result, item, three = value(reply)
    assert (zero, three) == ("0", "3")
    assert "the returned value cannot be brought back: it is a lock" in result
    assert "argument 1 cannot be sent: it is a lock" in item


def test_a_map_survives_the_death_of_the_service_and_of_its_machine(own: Kernel) -> None:
    ok(
        own.run(
            """
            import time
            from jupyter_compute.notebook import session
            f = remote(lambda x: time.sleep(0.02) or x)
            list(f.map(range(4)))
            """
        )
    )
    service = psutil.Process(value(own.run("session.client().info()['pid']")))
    running = own.start("for r in f.map(range(300)):\n    if r % 50 == 0: print(r)\nr")
    own.wait_for(lambda: "50" in running.stdout)
    os.kill(service.pid, signal.SIGKILL)
    own.wait_for(lambda: "150" in running.stdout)
    service = psutil.Process(_service_pid(own))
    node = next(p for p in service.children() if "jupyter_compute.node" in p.cmdline())
    node.kill()
    own.finish(running, 60)
    assert value(running) == 299
    assert "started again" in running.status_lines[-1]
    assert running.status_lines[-1].startswith("✓ 300 items")


def _service_pid(kernel: Kernel) -> int:
    """Return the service's process, asked for beside the cell that runs."""
    from services import ask

    del kernel
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return int(ask("GET", "/v1/info").json["pid"])
        except OSError:
            time.sleep(0.05)
    raise TimeoutError


@pytest.mark.parametrize(
    ("failure", "keywords", "told"),
    [
        ("kill", "retries=1, retry_on='Crashed', retry_delay=0.01", "killed on purpose"),
        ("oom", "memory='500M..1G'", "as if it had outgrown its memory"),
        ("lose-machine", "", "the machine was killed on purpose"),
    ],
)
def test_a_rehearsed_failure_costs_a_map_nothing(
    notebook: Kernel, failure: str, keywords: str, told: str
) -> None:
    ok(notebook.run(f"%compute chaos {failure}"))
    reply = notebook.run(f"list(remote({keywords})(lambda x: -x).map(range(6)))")
    assert value(reply) == [0, -1, -2, -3, -4, -5]
    assert told in reply.status_lines[-1]


def test_a_lane_gives_way_to_a_run_that_waits(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import itertools, os, threading, time
        m = remote(lambda x: time.sleep(0.02) or x).map(itertools.count())
        next(m)
        thread = threading.Thread(target=lambda: [None for _ in m])
        thread.start()
        try:
            answer = remote(cpu=len(os.sched_getaffinity(0)))(lambda: "mine")()
        finally:
            m.cancel()
            thread.join()
        answer
        """,
        timeout=100,
    )
    assert value(reply) == "mine"
    # Lanes that were withdrawn as they were given a machine have given it back.
    again = "remote(cpu=len(os.sched_getaffinity(0)))(lambda: 'again')()"
    assert value(notebook.run(again, timeout=30)) == "again"


@pytest.mark.parametrize("victim", ["service", "machine"])
def test_many_quick_items_survive_what_happens_to_few_slow_ones(own: Kernel, victim: str) -> None:
    reply = own.run(
        f"""
        import os, psutil
        from jupyter_compute.notebook import session
        found = []
        for r in remote(abs).map(range(200_000)):
            found.append(r)
            if r == 50_000:
                process = psutil.Process(session.client().info()["pid"])
                if {victim!r} == "machine":
                    nodes = (p for p in process.children() if "jupyter_compute.node" in p.cmdline())
                    process = next(nodes)
                process.kill()
        found == list(range(200_000))
        """
    )
    assert value(reply) is True


def test_one_item_that_cannot_be_sent_harms_none_of_many(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import threading
        items = [*range(60_000), threading.Lock(), *range(40_000)]
        found = list(remote(lambda x: x).map(items, errors="return"))
        str(found[60_000]), found[:60_000] + found[60_001:] == items[:60_000] + items[60_001:]
        """
    )
    problem, others = value(reply)
    assert "cannot be sent" in problem
    assert others


def test_a_result_that_cannot_be_rebuilt_harms_no_other_item(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import os
        def rebuild(x):
            raise RuntimeError("not here")
        class Fragile:
            def __reduce__(self): return rebuild, (1,)
        f = remote(lambda x: Fragile() if x == 150 else x)
        found = list(f.map(range(300), errors="return"))
        str(found[150]), found[:150] + found[151:] == [*range(150), *range(151, 300)]
        """
    )
    problem, others = value(reply)
    assert "the results cannot be rebuilt here: RuntimeError: not here" in problem
    assert others


def test_an_item_that_needs_more_memory_waits_for_no_end_of_the_others(notebook: Kernel) -> None:
    reply = notebook.run(
        """
        import itertools, time
        @remote(memory="200M..800M")
        def f(x):
            filled = bytearray(300_000_000 if x == 5 else 0)
            time.sleep(1 if x == 5 else 0.01)
            return len(filled)
        list(remote(abs).map(range(4)))
        begun = time.monotonic()
        for r in f.map(itertools.count(), ordered=False):
            if r or time.monotonic() - begun > 30: break
        r
        """
    )
    assert value(reply) == 300_000_000
