"""What breaks on the machine: what the user sees, and what is left of it. One test per fault."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from homes import Home
from jupyter_compute import places
from kernels import Kernel, Reply, ok

pytestmark = pytest.mark.slow

_ENDLESS = "import time\nprint('up', flush=True)\ntime.sleep(1000)"
_UNTIL_GO = (
    "import os, time\nprint('up', flush=True)\n"
    "while not os.path.exists('go'):\n    time.sleep(0.01)\n7"
)


@pytest.fixture
def kernel(home: Home) -> Iterator[Kernel]:
    """A kernel with a pool of its own, that a test may harm; nothing may be left of it."""
    own = Kernel(home)
    ok(own.run("%load_ext jupyter_compute"))
    yield own
    own.close()


def _neighbour(kernel: Kernel, name: str = "job") -> Reply:
    """Start a run in the background that ends when there is a file ``go``."""
    reply = ok(kernel.run(f"%%remote --bg {name} --cpu 0.5\n{_UNTIL_GO}"))
    kernel.wait_for(lambda: "up" in reply.stdout)
    return reply


def _attempts(kernel: Kernel, name: str = "job") -> int:
    return int(ok(kernel.run(f"{name}.receipt.attempts")).result)


def _processes(home: Home, kernel: Kernel) -> set[int]:
    return set(home.processes()) - {kernel.pid}


def _nothing_runs(home: Home, before: set[int]) -> None:
    """Wait until no process of the home is left of those."""
    services.wait_until(lambda: not before & set(home.processes()), 10)


def test_row_12_a_machine_that_is_killed_is_replaced_and_its_run_is_rerun_once(
    kernel: Kernel, home: Home
) -> None:
    reply = kernel.start(f"%%remote\nmade = []\n{_UNTIL_GO}\nmade.append(1)\nmade")
    kernel.wait_for(lambda: "up" in reply.stdout)
    node = services.node()
    below = {pid for pid in home.processes() if os.getpgid(pid) == os.getpgid(node)}
    os.kill(node, signal.SIGKILL)
    kernel.wait_for(lambda: reply.stdout == "up\nup\n")
    _nothing_runs(home, below)
    (home.notebooks / "go").touch()
    ok(kernel.finish(reply))
    assert reply.result == "[1]"
    assert "2 attempts" in reply.status_lines[-1]
    assert "the machine was lost: rerun 1 of 3, not counted as a retry" in reply.status_lines[-1]
    assert services.node() != node
    used = ok(
        kernel.run("import jupyter_compute\nrepr(jupyter_compute.runs()[0].receipt.cpu_mean)")
    )
    assert used.result == "'None'"  # what the lost attempt had used nobody knows


def test_row_15_a_cell_that_outgrows_its_memory_ends_alone(kernel: Kernel, home: Home) -> None:
    neighbour = _neighbour(kernel)
    node, before = services.node(), _processes(home, kernel)
    code = "import subprocess, time\nsubprocess.Popen(['sleep', '1000'])\n"
    code += "print('mine', flush=True)\nblock = b'x' * 600_000_000\ntime.sleep(1000)"
    reply = kernel.run(f"%%remote --memory 200M --cpu 0.5\n{code}")
    assert reply.ename == "OutOfMemory"
    assert "--memory 200M (200 MB) asked for" in reply.evalue
    assert "block = b'x' * 600_000_000" in reply.evalue or "time.sleep(1000)" in reply.evalue
    assert "--memory 400M, or --memory 200M..800M" in reply.evalue
    assert services.node() == node
    services.wait_until(lambda: not any("sleep 1000" in p for p in home.processes().values()))
    assert before <= set(home.processes()) | {0}
    (home.notebooks / "go").touch()
    kernel.wait_for(lambda: neighbour.status_lines[-1].startswith("✓"))
    assert _attempts(kernel) == 1


def test_row_16_a_node_that_the_system_kills_for_memory_blames_nobody(
    kernel: Kernel, home: Home
) -> None:
    runs = {name: _neighbour(kernel, name) for name in ("one", "two")}
    node = services.node()
    os.kill(node, signal.SIGKILL)  # what the system does to whom it chooses
    services.wait_until(lambda: not Path(f"/proc/{node}/exe").exists())
    (home.notebooks / "go").touch()
    for name, reply in runs.items():
        kernel.wait_for(lambda reply=reply: reply.status_lines[-1].startswith("✓"))
        assert "the machine was lost: rerun 1 of 3, not counted" in reply.status_lines[-1]
        assert (reply.stdout, _attempts(kernel, name)) == ("up\nup\n", 2)
    assert services.node() != node


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        ("import ctypes\nctypes.string_at(0)", "Crashed", "ended by SIGSEGV"),
        ("import os\nos._exit(3)", "Crashed", "ended itself with exit code 3"),
        ("import sys\nsys.exit(3)", "SystemExit", "3"),
    ],
)
def test_row_17_a_process_that_ends_is_told_and_nothing_else_happens(
    shared_kernel: Kernel, code: str, name: str, said: str
) -> None:
    ok(shared_kernel.run("%%remote\n1"))
    node = services.node()
    reply = shared_kernel.run(f"%%remote\nprint('last words', flush=True)\n{code}")
    assert (reply.ename, said in reply.evalue) == (name, True)
    assert reply.stdout == "last words\n"
    assert name == "SystemExit" or "last words" in reply.evalue
    assert "attempt" not in reply.status_lines[-1]
    assert services.node() == node
    assert ok(shared_kernel.run("%%remote\n1")).result == "1"


_POISON = "import os, time\nprint('up', flush=True)\ntime.sleep(0.2)\nos.killpg(os.getpgid(os.getppid()), 9)\ntime.sleep(100)"


def test_row_18_a_cell_that_kills_its_machine_gets_no_third_one(kernel: Kernel) -> None:
    reply = kernel.run(f"%%remote\n{_POISON}")
    assert reply.ename == "MachineLost"
    assert "this cell seems to kill its machine: 2 in a row died within 30 s" in reply.evalue
    assert reply.stdout == "up\nup\n"
    assert "2 attempts" in reply.status_lines[-1]
    assert ok(kernel.run("%%remote\n1")).result == "1"
    (machine,) = services.ask("GET", "/v1/status").json["machines"]
    assert machine["id"].endswith("-3")


def test_row_18_neighbours_of_such_a_cell_are_not_taken_for_it(kernel: Kernel, home: Home) -> None:
    first = _neighbour(kernel)
    reply = kernel.start(f"%%remote --cpu 0.5\n{_POISON}")
    kernel.wait_for(lambda: "machine was lost" in first.status_lines[-1])
    why = "does not kill its machine"
    kernel.wait_for(lambda: any(why in li for li in first.status_lines + reply.status_lines))
    (home.notebooks / "go").touch()
    assert kernel.finish(reply).ename == "MachineLost"
    assert "seems to kill its machine" in reply.evalue
    kernel.wait_for(lambda: first.status_lines[-1].startswith("✓"))
    assert _attempts(kernel) <= 3
    assert ok(kernel.run("%%remote\n1")).result == "1"
    (machine,) = services.ask("GET", "/v1/status").json["machines"]
    assert machine["id"].endswith("-3")


@contextlib.contextmanager
def _small(path: Path, size: str) -> Iterator[None]:
    """Make the directory one of a file system of its own."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_row_19_a_full_shared_memory_is_no_fault(kernel: Kernel) -> None:
    shared, disk = places.blob_dirs()
    with _small(shared, "20M"):
        reply = ok(kernel.run("%%remote\nblock = bytes(30_000_000)"))
        assert ok(kernel.run("len(block)")).result == "30000000"
        assert reply.status_lines[-1].startswith("✓")
        assert any(file.stat().st_size >= 30_000_000 for file in disk.iterdir())
        ok(kernel.run("%compute stop"))


def test_row_19_where_nothing_can_be_stored_the_error_says_what_and_where(kernel: Kernel) -> None:
    shared, disk = places.blob_dirs()
    with _small(shared, "20M"), _small(disk, "20M"):
        reply = kernel.run("%%remote\nblock = bytes(30_000_000)")
        assert reply.ename == "TransferError"
        assert "30 MB" in reply.evalue
        assert str(disk) in reply.evalue
        assert all(f.stat().st_size < 20_000_000 for d in (shared, disk) for f in d.iterdir())
        assert ok(kernel.run("%%remote\n1")).result == "1"
        kernel.run("given = bytes(30_000_000)")
        sent = kernel.run("%%remote\nlen(given)")
        assert sent.ename == "TransferError"
        assert "30 MB" in sent.evalue
        assert str(disk) in sent.evalue
        ok(kernel.run("%compute stop"))
