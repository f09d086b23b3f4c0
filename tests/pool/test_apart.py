"""Runs on a machine that shares nothing with this host are like those on one that does."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import psutil
import pytest

import services
from far import Far
from jupyter_compute import places
from jupyter_compute.blobs import Blobs
from jupyter_compute.notebook import payload
from kernels import recent_runs

pytestmark = pytest.mark.slow

MB = 10**6


def test_a_small_cell_needs_no_store(far: Far) -> None:
    far.run("y = 20")
    assert far.requests("%%remote\nx = y + 1\nprint('out')\nx * 2") == []
    assert far.run("x").result == "21"


def test_large_values_go_and_come(far: Far) -> None:
    far.run("a = np.arange(3_000_000.0)")
    done = far.requests("%%remote\nb = a + 1\nfloat(b.sum())")
    assert {method for method, _ in done} >= {"HEAD", "POST", "PUT", "GET"}
    assert far.run("float((b - a).sum())").result == "3000000.0"


def test_nothing_moves_twice(far: Far) -> None:
    far.run("a = np.full(1_000_000, 7.0)")
    far.run("%%remote\nb = a + 1")
    assert far.requests("%%remote\nc = float(a.sum() + b.sum())") == []
    assert far.run("c").result == "15000000.0"
    far.forget()
    again = far.requests("%%remote\nc = float(a.sum() + b.sum())")
    assert [method for method, _ in again] == ["GET", "GET"]
    far.run("e = a.copy()")
    assert far.requests("%%remote\nd = e.sum()") == []


def test_200_mb_each_way_are_in_nobodys_memory(far: Far) -> None:
    far.run("a = np.ones(25_000_000)\na[0] = 3")
    service, machine = far.service(), far.machine()
    before = service.memory_info().rss, machine.memory_info().rss
    kernel = "import psutil; peak = psutil.Process().memory_info().rss"
    far.run(f"{kernel}; was = peak")
    far.run("%%remote\nb = a * 2")
    assert far.run("float(b[0]), float(b.sum())").result == "(6.0, 50000004.0)"
    assert service.memory_info().rss - before[0] < 60 * MB
    assert machine.memory_info().rss - before[1] < 60 * MB


def test_an_exception_comes_with_its_values(far: Far) -> None:
    reply = far.kernel.run("%%remote\nlocal = np.zeros(100_000)\nraise ValueError('no', local)")
    assert (reply.status, reply.ename) == ("error", "ValueError")
    assert "raise ValueError('no', local)" in reply.traceback
    assert far.run("import sys; sys.last_value.args[1].shape").result == "(100000,)"


def test_a_map_of_large_items_and_results(far: Far) -> None:
    far.run(
        "@remote\ndef f(a, n):\n    if n == 5: raise ValueError(np.full(50_000, n))\n    return a + n"
    )
    far.run("parts = [np.full(30_000, float(i)) for i in range(12)]")
    assert far.run("[float(r[0]) for r in f.map(parts[:5], range(5))]").result == (
        "[0.0, 2.0, 4.0, 6.0, 8.0]"
    )
    failed = far.kernel.run("list(f.map(parts, range(12)))")
    assert failed.ename == "ValueError"
    assert "item 5 of the map" in failed.traceback


def test_a_kept_value_is_brought_only_when_asked_for(far: Far) -> None:
    brought = far.requests("%%remote --keep k\nk = np.arange(2_000_000.0)")
    assert "GET" not in {method for method, _ in brought}
    assert not [m for m, _ in far.requests("%%remote\nprint(k.sum())") if m in {"GET", "PUT"}]
    names = far.run("k.payload, k.blobs[0]").result
    here = Blobs(_dirs(far))
    (buffer,) = re.findall(r"[0-9a-f]{32}", names)[1:]
    assert not here.has(buffer)
    far.forget()
    fetched = far.requests("%%remote\nprint(k.sum())")
    assert ("GET", f"/jupyter-compute-test/blobs/{buffer}") in fetched
    assert far.run("float(k.get()[7])").result == "7.0"
    assert here.has(buffer)
    far.run("one = k")
    sums = far.run(
        "@remote\ndef g(v, n):\n    return float(v.sum()) + n\nlist(g.map([k, k], [0, 1]))"
    )
    assert sums.result == "[1999999000000.0, 1999999000001.0]"


def test_a_dropped_one_goes_from_the_store(far: Far) -> None:
    far.run("%%remote --keep k\nk = np.arange(1_500_000.0)")
    (buffer,) = re.findall(r"[0-9a-f]{32}", far.run("k.blobs").result)
    assert buffer in far.store.names()
    far.run("%compute drop all")
    services.wait_until(lambda: buffer not in far.store.names())


def test_a_kept_value_that_the_store_has_lost_is_named(far: Far) -> None:
    far.run("%%remote --keep k\nk = np.arange(1_600_000.0)")
    (buffer,) = re.findall(r"[0-9a-f]{32}", far.run("k.blobs").result)
    far.store.client.delete_object(Bucket="jupyter-compute-test", Key=f"blobs/{buffer}")
    failed = far.kernel.run("k.get()")
    assert failed.ename == "TransferError"
    assert "no longer in the store" in failed.evalue


def test_a_damaged_object_is_refused_and_mended(far: Far) -> None:
    far.run("a = np.full(900_000, 4.0)")
    far.run("%%remote\nfloat(a.sum())")
    (buffer,) = [name for name in far.store.names() if _size(far, name) == 7_200_000]
    far.forget()
    far.store.spoil(buffer)
    failed = far.kernel.run("%%remote\nfloat(a.sum())")
    assert failed.ename == "TransferError"
    assert buffer in failed.evalue
    assert "another content" in failed.evalue
    assert far.run("%%remote\nfloat(a.sum())").result == "3600000.0"


def test_broken_lines_are_mended(far: Far) -> None:
    far.run("a = np.random.default_rng(1).random(5_000_000)")
    far.line.break_next(3, 2 * MB)
    far.run("%%remote\nb = a + 1")
    assert far.line.broken == 3
    assert far.run("bool((b == a + 1).all())").result == "True"


def test_the_machine_has_no_credentials(far: Far) -> None:
    seen = far.run(
        "%%remote\nimport os\nfrom pathlib import Path\n"
        "own = Path('/proc/self/environ').read_bytes().decode()\n"
        "sorted(os.environ), own, os.environ['FAR_PLAIN']"
    ).result
    assert "as it is" in seen
    for name in ("AWS_", "FAR_PATH", "FAR_SECRET", "sandbox-secret", "wJalrXUtn"):
        assert name not in seen
    machine = far.machine()
    for process in (machine, *machine.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            assert "sandbox-secret" not in str(process.environ())
            assert not _remembers(process.pid, [b"sandbox-secret-5f1c", b"wJalrXUtnFEMIK7MDENG"])


def test_it_works_in_a_directory_of_its_own(far: Far) -> None:
    code = "%%remote\nimport os\nfrom pathlib import Path\nPath('here').write_text('x')\n"
    first = far.run(f"{code}os.getcwd(), os.listdir()").result
    second = far.run(f"{code}os.getcwd(), os.listdir()").result
    assert str(far.blobs) in first
    assert first != second
    assert "['here']" in first
    assert "['here']" in second


def test_another_python_is_refused_by_name(far: Far) -> None:
    with far.home.entered():
        wire = services.spec("1")
        blobs = Blobs(places.blob_dirs())
        around = payload.environment() | {"python": "3.9.18"}
        wire["environment"] = blobs.put(json.dumps(around).encode())
        stream = services.Stream("POST", "/v1/runs", wire)
        end = stream.until(kind="end")
        services.hang_up()
    assert end["state"] == "failed"
    here = ".".join(map(str, sys.version_info[:3]))
    assert f"Python 3.9.18, and the machine has Python {here}" in end["envelope"]["message"]


def test_a_run_that_is_stopped_waits_for_no_value(far: Far) -> None:
    far.run("a = np.random.default_rng(2).random(4_000_000)")
    far.line.cut = True
    try:
        waiting = far.kernel.start("%%remote\na.sum()")
        far.kernel.wait_for(lambda: any("sending" in line for line in waiting.status_lines))
        far.kernel.interrupt()
        far.kernel.finish(waiting, 15)
        assert waiting.ename == "KeyboardInterrupt"
    finally:
        far.line.cut = False
    assert len(recent_runs(far.kernel)) > 0
    far.run("%%remote\nfloat(a.sum())")


def _dirs(far: Far) -> list[str]:
    with far.home.entered():
        return [str(path) for path in places.blob_dirs()]


def _size(far: Far, name: str) -> int:
    head = far.store.client.head_object(Bucket="jupyter-compute-test", Key=f"blobs/{name}")
    return int(head["ContentLength"])


def _remembers(pid: int, secrets: list[bytes]) -> bool:
    """Tell whether a process has one of these in its memory."""
    own = Path(f"/proc/{pid}")
    with (own / "maps").open() as maps, (own / "mem").open("rb", 0) as memory:
        for line in maps:
            span, rights, *_, name = line.split(maxsplit=5) + [""] * (6 - len(line.split()))
            if "rw" not in rights or name.startswith("/"):
                continue
            start, stop = (int(end, 16) for end in span.split("-"))
            try:
                memory.seek(start)
                data = memory.read(stop - start)
            except (OSError, ValueError, OverflowError):
                continue
            if any(secret in data for secret in secrets):
                return True
    return False
