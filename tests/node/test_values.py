"""What travels, what is noticed, and what a run leaves behind, in odd cases."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from bench import Bench

from jupyter_compute.blobs import Blobs
from jupyter_compute.node.changes import _without_copies
from jupyter_compute.node.forkserver import ForkServer


def define(bench: Bench, source: str) -> None:
    """Run code in the namespace here, as an ordinary cell does."""
    exec(compile(textwrap.dedent(source), "<here>", "exec"), bench.namespace)


def bind(bench: Bench, source: str, reads: list[str]) -> None:
    """Run a cell and bind what comes back."""
    bench.namespace.update(bench.cell(source, reads).result.values)


def test_a_class_attribute_that_a_cell_sets_comes_back(bench: Bench) -> None:
    define(bench, "class Config:\n    debug = False")
    config = bench.namespace["Config"]
    bind(bench, "Config.debug = True", ["Config"])
    assert bench.namespace["Config"] is config
    assert config.debug is True


@pytest.mark.parametrize(
    "source",
    [
        "def make(n):\n    def f():\n        n.append(1)\n        return len(n)\n    return f\nf = make([])",
        "def f():\n    f.calls += 1\n    return f.calls\nf.calls = 0",
        "def f(seen=[]):\n    seen.append(1)\n    return len(seen)",
    ],
    ids=["closure", "attribute", "default"],
)
def test_a_functions_own_state_comes_back(bench: Bench, source: str) -> None:
    define(bench, source)
    bind(bench, "f(); f()", ["f"])
    assert bench.namespace["f"]() == 3


def test_a_function_without_state_is_not_sent_back(bench: Bench) -> None:
    define(bench, "K = [1]\ndef f(v, n=2):\n    return v * n + K[0]")
    assert bench.cell("x = f(2)", ["f"]).result.values == {"x": 5}


def test_attributes_of_a_subclass_of_str_come_back(bench: Bench) -> None:
    define(bench, "class Tagged(str): pass\ns = Tagged('a')\ns.tags = []")
    assert bench.cell("s.tags.append(1)", ["s"]).result.values["s"].tags == [1]


def test_a_returned_instance_leaves_the_notebooks_globals_alone(bench: Bench) -> None:
    define(bench, "K = {'a': 1}\nclass M:\n    def go(self): return K\ndef f():\n    return M()")
    k = bench.namespace["K"]
    returned = bench.call(bench.namespace["f"]).result.last
    assert bench.namespace["K"] is k
    assert returned.go() is k


def test_a_failed_cell_assigns_nothing_through_its_exception(bench: Bench) -> None:
    define(bench, "top = 1\nclass E(Exception):\n    def __str__(self): return f'top {top}'")
    ran = bench.cell("top = 99\nraise E()", ["E"])
    assert ran.envelope["message"] == "top 99"
    assert bench.namespace["top"] == 1


def test_code_may_pickle_what_the_notebook_defined(bench: Bench) -> None:
    define(
        bench,
        "import functools\nclass M: pass\nmodels = [M()]\ndef work(v): return v + 1\n"
        "part = functools.partial(work)",
    )
    source = "import pickle\nagain = pickle.loads(pickle.dumps([models, part]))\nagain[1](1)"
    ran = bench.cell(source, ["models", "part"])
    assert ran.result.last == 2
    assert type(ran.result.values["again"][0][0]) is bench.namespace["M"]


def test_classes_with_cached_properties_travel(bench: Bench) -> None:
    define(
        bench,
        "import functools\nclass M:\n    @functools.cached_property\n    def p(self): return [1]",
    )
    ran = bench.cell("m = M()\nm.p.append(2)\nm.p", ["M"])
    assert ran.result.last == [1, 2]
    assert ran.result.values["m"].p == [1, 2]


def test_unpickling_may_call_the_notebooks_functions(bench: Bench) -> None:
    define(
        bench,
        "import math\nscale = 3\nclass Key:\n    def __init__(self, v): self.v = v\n"
        "    def __eq__(self, other): return self.v == other.v\n"
        "    def __hash__(self): return math.floor(self.v * scale)\nfound = {Key(1.5): 'x'}",
    )
    ran = bench.cell("found[Key(1.5)]", ["found", "Key"])
    assert ran.result.last == "x"


def test_an_endless_recursion_is_its_own_exception(bench: Bench) -> None:
    error = bench.cell("def f(n):\n    return f(n + 1)\nf(0)").result.error
    assert isinstance(error, RecursionError)


def test_a_handler_that_raises_does_not_cut_output(bench: Bench) -> None:
    ran = bench.cell(
        """
import signal, sys
def late(*_): raise TimeoutError
signal.signal(signal.SIGALRM, late)
for _ in range(10):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        while True: sys.stdout.write('x' * 400_000)
    except TimeoutError:
        pass
print('end')
""",
        timeout_s=20,
    )
    assert ran.envelope["outcome"] == "ok"
    assert set(ran.text()) == set("xend\n")


def test_forked_processes_may_display(bench: Bench) -> None:
    ran = bench.cell(
        """
import os, threading
from IPython.display import HTML, display
def noise():
    for _ in range(300): print('y' * 10_000)
threading.Thread(target=noise).start()
for _ in range(5):
    if (pid := os.fork()) == 0:
        display(HTML('z' * 100_000))
        os._exit(0)
    os.waitpid(pid, 0)
""",
        timeout_s=20,
    )
    assert ran.envelope["outcome"] == "ok"
    assert ran.text().count("<IPython.core.display.HTML object>") == 5


def test_bytes_of_one_character_may_be_written_apart(bench: Bench) -> None:
    source = "import sys\nfor b in (b'\\xe2\\x82', b'\\xac'): sys.stdout.buffer.write(b)\nNone"
    assert bench.cell(source).text() == "\u20ac"


def test_an_open_file_is_written_to_its_end(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    bench.cell(f"log = open({str(path)!r}, 'w')\nlog.write('kept')")
    assert path.read_text() == "kept"


def test_a_process_that_has_ended_is_not_left_running(bench: Bench) -> None:
    ran = bench.cell("import subprocess, time\np = subprocess.Popen(['true'])\ntime.sleep(0.1)")
    assert "running" not in ran.notes


def test_shared_memory_is_removed_however_the_run_ends(bench: Bench) -> None:
    source = (
        "def f():\n    from multiprocessing import shared_memory\n"
        "    s = shared_memory.SharedMemory(create=True, size=10_000)\n    print(s.name)\n"
    )
    ran = bench.cell(source + "f()")
    assert not Path("/dev/shm", ran.text().strip()).exists()
    assert "process" not in ran.notes

    async def killed() -> str:
        attempt = bench.next()
        going = asyncio.ensure_future(bench.go(attempt, source + "    while True: pass\nf()"))
        await bench.until(attempt, "\n")
        bench.runner.stop(attempt, "kill")
        return (await going).text().strip()

    assert not Path("/dev/shm", bench.loop.run(killed())).exists()


def test_a_spare_child_that_was_killed_is_not_used(bench: Bench) -> None:
    bench.cell("1")

    async def kill() -> None:
        (nursery,) = (n for n in bench.runner._nurseries.values() if n.alive)
        assert nursery._spare is not None
        child = await nursery._spare
        os.kill(child.pid, 9)
        await child.exited

    bench.loop.run(kill())
    assert bench.cell("1 + 1").result.last == 2


def test_an_interrupt_of_a_child_that_is_just_being_forked_is_not_lost(bench: Bench) -> None:
    bench.cell("1")

    async def run() -> object:
        (nursery,) = (n for n in bench.runner._nurseries.values() if n.alive)
        spare, nursery._spare = nursery._spare, None
        assert spare is not None
        (await spare).close()
        attempt = bench.next()
        going = asyncio.ensure_future(bench.go(attempt, "import time\ntime.sleep(3)"))
        while (found := bench.runner._attempts.get(attempt)) is None or found._given is None:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
        bench.runner.stop(attempt, "interrupt")
        return (await going).envelope["outcome"]

    for _ in range(3):
        assert bench.loop.run(run()) != "ok"


def test_a_fork_that_fails_ends_no_other_child(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = ForkServer(theirs, None)  # type: ignore[arg-type]

        def full() -> int:
            raise BlockingIOError(errno.EAGAIN, "too many processes")

        monkeypatch.setattr(os, "fork", full)
        ours.send(b'{"op": "fork"}')
        assert server._answer()
        assert "too many processes" in json.loads(ours.recv(1000))["refused"]


def test_print_writes_to_a_file_that_is_empty(bench: Bench) -> None:
    ran = bench.cell(
        "class Lines(list):\n    write = list.append\nlines = Lines()\nprint('x', file=lines)"
    )
    assert (ran.text(), "".join(ran.result.values["lines"])) == ("", "x\n")


def test_a_blob_that_is_used_while_others_are_collected_stays(tmp_path: Path) -> None:
    class Racing(Blobs):
        def _files(self):  # type: ignore[no-untyped-def]
            found = list(super()._files())
            assert self.has(name)  # a kernel finds it after the look, before the removal
            return found

    blobs = Racing([tmp_path])
    name = Blobs.put(blobs, b"data")
    os.utime(tmp_path / name, (time.time() - 1000,) * 2)
    assert blobs.collect((), older_than_s=60, max_bytes=0) == 0
    assert blobs.read(name) == b"data"


def test_pages_in_the_swap_count_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaps = "1000-3000 rw-p 0 0:0 1 /x\nAnonymous: 0 kB\nSwap: {} kB\n"
    monkeypatch.setattr(Path, "read_text", lambda _: smaps.format(4))
    assert _without_copies({(0x1000, 0x2000): "name"}) == {}
    monkeypatch.setattr(Path, "read_text", lambda _: smaps.format(0))
    assert _without_copies({(0x1000, 0x2000): "name"}) == {(0x1000, 0x2000): "name"}


@pytest.mark.parametrize("place", [0, 8191, 8192, 99_999])
def test_one_changed_number_anywhere_in_an_array_is_noticed(bench: Bench, place: int) -> None:
    bench.namespace.update(a=np.zeros(8192), b=np.zeros(100_000), c=np.zeros(100_000))
    name = "a" if place < 8192 else "b"
    ran = bench.cell(f"{name}[{place}] = 1", ["a", "b", "c"])
    assert ran.result.values.keys() == {name}
