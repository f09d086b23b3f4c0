"""Kept values in a real kernel: they stay where they were computed, and are used there."""

from __future__ import annotations

import re

import psutil
import pytest

import services
from homes import Home
from jupyter_compute import places
from kernels import Kernel, ok

pytestmark = pytest.mark.slow

_MB = 10**6


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded and no names or kept values."""
    ok(shared_kernel.run("%compute drop all"))
    return shared_kernel


def _ids(kernel: Kernel) -> list[str]:
    return re.findall(r"k-\w{8}", ok(kernel.run("%compute kept")).stdout)


def _stored() -> int:
    return sum(blob.stat().st_size for place in places.blob_dirs() for blob in place.iterdir())


def test_a_kept_value_is_used_in_place_and_brought_when_asked_for(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x\nimport numpy as np\nx = np.arange(6.0).reshape(2, 3)\ny = 7"))
    assert re.fullmatch(r"<Kept k-\w{8}: ndarray 2 x 3 float64, \d+ B>", ok(kernel.run("x")).result)
    assert ok(kernel.run("%%remote\nprint(x.sum())\ntotal = x.sum() + y")).stdout == "15.0\n"
    assert ok(kernel.run("total, type(x).__name__")).result.endswith("22.0), 'Kept')")
    ok(kernel.run("a, b = x.get(), x.get(); a[0, 0] = 99"))
    assert ok(kernel.run("float(b[0, 0]), float(x.get()[0, 0])")).result == "(0.0, 0.0)"


def test_a_large_one_travels_nowhere(kernel: Kernel, shared_home: Home) -> None:
    with shared_home.entered():
        ok(kernel.run("%%remote --keep x\nimport numpy as np\nx = np.ones(25_000_000)"))
        process, stored = psutil.Process(kernel.pid), _stored()
        before = process.memory_info().rss
        assert stored > 200 * _MB
        for _ in range(2):
            assert ok(kernel.run("%%remote\nprint(x.sum())")).stdout == "25000000.0\n"
        assert process.memory_info().rss - before < 20 * _MB
        assert _stored() - stored < 2 * _MB
        assert "kept: 0 B sent" in ok(kernel.run("%%remote --plan\nx.sum()")).stdout
        assert ok(kernel.run("x.get().nbytes")).result == "200000000"
        ok(kernel.run("%compute drop all"))


def test_what_is_unchanged_comes_back_as_the_same_one(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x\nx = list(range(5))"))
    ok(kernel.run("inside = {'deep': [x]}"))
    ok(
        kernel.run(
            "%%remote\ny = x\nz = {'again': inside['deep'][0], 'more': 1}\ninside['new'] = 1"
        )
    )
    same = "y is x, z['again'] is x, inside['deep'][0] is x, inside['new'], z['more']"
    assert ok(kernel.run(same)).result == "(True, True, True, 1, 1)"
    ok(kernel.run("%%remote --keep y\ny = inside['deep'][0]"))
    assert ok(kernel.run("y is x")).result == "True"
    assert len(_ids(kernel)) == 1


def test_a_change_does_not_reach_the_kept_one(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x\nimport numpy as np\nx = np.zeros(100_000)"))
    ok(kernel.run("first = x"))
    ok(kernel.run("%%remote --keep x\nx += 1"))
    assert ok(kernel.run("float(first.get().max()), float(x.get().min())")).result == "(0.0, 1.0)"
    ok(kernel.run("%%remote\nx[0] = 5"))
    assert ok(kernel.run("type(x).__name__, float(x[0]), float(x[1])")).result == (
        "('ndarray', 5.0, 1.0)"
    )


def test_only_some_outputs_are_kept(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote --keep a,missing --out b\na, b, c = [1], [2], [3]\na"))
    assert "missing was not assigned" in reply.status_lines[-1]
    assert reply.result.startswith("<Kept k-")
    assert ok(kernel.run("type(a).__name__, b, 'c' in globals()")).result == "('Kept', [2], False)"


def test_what_cannot_be_kept_is_named(kernel: Kernel) -> None:
    reply = kernel.run("%%remote --keep x\nx = {'a': [1, (i for i in range(3))]}")
    assert reply.ename == "TransferError"
    assert "x cannot be kept: x['a'][1] is a generator" in reply.evalue
    assert _ids(kernel) == []


def test_functions_keep_and_read_kept_values(kernel: Kernel) -> None:
    ok(
        kernel.run(
            "from jupyter_compute import remote\n"
            "@remote(keep=True)\ndef make(n): return list(range(n))\n"
            "@remote\ndef total(one, more=()): return sum(one) + sum(map(sum, more)) + len(base)\n"
            "@remote\ndef same(value): return {'it': value}\n"
        )
    )
    ok(kernel.run("base = make(4); other = make(3)"))
    assert ok(kernel.run("base")).result.startswith("<Kept k-")
    assert ok(kernel.run("total(base, more=[other, base])")).result == "19"
    assert ok(kernel.run("same(other)['it'] is other")).result == "True"
    assert ok(kernel.run("make.submit(2).result().get()")).result == "[0, 1]"
    assert ok(kernel.run("make.options(keep=False)(2)")).result == "[0, 1]"


def test_it_counts_as_memory_that_the_run_needs(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x\nimport numpy as np\nx = np.ones(25_000_000)"))
    reply = kernel.run("%%remote --memory 100M\nx.sum()")
    assert "takes 200 MB (x: 200 MB), and the run asks for only 100 MB" in reply.stderr


def test_one_that_was_dropped_says_so_wherever_it_is_used(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x,y\nx, y = [1], [2]"))
    ids = _ids(kernel)
    assert len(ids) == 2
    said = ok(kernel.run("print(x.id)\n%compute drop {x.id}")).stdout
    assert re.search(r"dropped k-\w{8}: \d+ B", said)
    for code in ("x.get()", "%%remote\nprint(x)", "jupyter_compute.kept(x.id)"):
        reply = kernel.run(
            f"{code}" if code.startswith("%%") else f"import jupyter_compute\n{code}"
        )
        assert reply.ename == "TransferError", reply
        assert "there is no kept value k-" in reply.evalue
        assert "run the cell that made it again" in reply.evalue
    assert len(_ids(kernel)) == 1
    assert ok(kernel.run("y.get()")).result == "[2]"
    assert kernel.run("%compute drop k-nothing").ename == "TransferError"
    ok(kernel.run("%compute drop all"))
    assert "no kept values" in ok(kernel.run("%compute kept")).stdout
    assert "nothing to drop" in ok(kernel.run("%compute drop all")).stdout


def test_one_that_a_run_reads_cannot_be_dropped(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x\nx = [1, 2, 3]"))
    ok(kernel.run("%%remote --bg job\nimport time\nprint(len(x), flush=True)\ntime.sleep(100)"))
    said = ok(kernel.run("%compute drop all")).stdout
    assert re.fullmatch(r"k-\w{8} stays, as r-\w{8} reads it; .*\n", said)
    ok(kernel.run("job.cancel()"))
    kernel.run("job.result()")
    assert "dropped" in ok(kernel.run("%compute drop all")).stdout


def test_who_deletes_the_name_lets_go_of_it_and_who_restarts_does_not(home: Home) -> None:
    def books() -> dict[str, tuple[int, bool]]:
        found = services.ask("GET", "/v1/kept").json["kept"]
        return {entry["name"]: (entry["holders"], entry["let_go"] is not None) for entry in found}

    own = Kernel(home)
    try:
        ok(own.run("%load_ext jupyter_compute"))
        ok(own.run("%%remote --keep x,y,z\nx, y, z = [1], [2], [3]"))
        own.wait_for(lambda: books() == dict.fromkeys("xyz", (1, False)))
        ok(own.run("del x; y = 1"))
        own.wait_for(lambda: books() == {"x": (0, True), "y": (0, True), "z": (1, False)})
        kept_id = ok(own.run("print(z.id)")).stdout.strip()
        own.restart()
        ok(own.run(f"import jupyter_compute; z = jupyter_compute.kept({kept_id!r})"))
        own.wait_for(lambda: books()["z"] == (2, False))
        ok(own.run("del z"))
        own.wait_for(lambda: books()["z"] == (1, False))
    finally:
        own.close()


def test_it_can_be_pickled_and_speaks_of_get(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x\nx = [1]"))
    ok(kernel.run("import copy, pickle"))
    assert ok(kernel.run("pickle.loads(pickle.dumps(x)) is x, copy.deepcopy(x) is x")).result == (
        "(True, True)"
    )
    assert ".get() brings the list" in kernel.run("x.append(2)").evalue


def test_a_restarted_kernel_finds_it_again_and_so_does_a_restarted_pool(home: Home) -> None:
    own = Kernel(home)
    try:
        ok(own.run("%load_ext jupyter_compute"))
        ok(own.run("%%remote --keep x\nimport numpy as np\nx = np.arange(300_000)"))
        kept_id = ok(own.run("print(x.id)")).stdout.strip()
        own.restart()
        ok(own.run("%load_ext jupyter_compute\nimport jupyter_compute"))
        assert kept_id in ok(own.run("print(jupyter_compute.kept())")).stdout
        ok(own.run(f"x = jupyter_compute.kept({kept_id!r})"))
        assert ok(own.run("%%remote\nprint(x[-1])")).stdout == "299999\n"
        ok(own.run("%compute stop"))
        assert ok(own.run(f"jupyter_compute.Kept({kept_id!r}) is x")).result == "True"
        assert ok(own.run("%%remote\nprint(x[-2])")).stdout == "299998\n"
    finally:
        own.close()


def test_the_items_of_a_map_may_be_kept_values(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --keep x,y\nx, y = [1, 2], [3]"))
    ok(kernel.run("from jupyter_compute import remote\n@remote\ndef f(a, b): return len(a) + b[0]"))
    assert ok(kernel.run("list(f.map([x, y, x], [[10], x, y]))")).result == "[12, 2, 5]"
    for word in ("keep", "cache"):
        refused = kernel.run(f"f.options({word}=True).map([x])")
        assert refused.ename == "AskError"
        assert f"{word}=True is for single calls" in refused.evalue
