"""``--cache`` and ``cache=True`` in a real kernel: a recorded result stands for equal runs only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import Home
from kernels import Kernel, Reply, ok

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded, no names, and nothing recorded."""
    ok(shared_kernel.run("%compute cache clear\n%compute drop all"))
    return shared_kernel


@pytest.fixture
def modules(shared_kernel: Kernel, tmp_path: Path) -> Path:
    """A directory that the kernel imports from."""
    ok(shared_kernel.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})"))
    return tmp_path


@pytest.fixture(autouse=True)
def old_path(shared_kernel: Kernel) -> Iterator[None]:
    yield
    ok(shared_kernel.run("import sys; sys.path[:] = [p for p in sys.path if 'pytest' not in p]"))


def _hit(reply: Reply) -> bool:
    return ok(reply).status_lines[-1].startswith("✓ from cache · saved ")


def _ran(kernel: Kernel, cell: str) -> str:
    """Run a cell; return what it said, and fail if a recorded result stood for it."""
    reply = kernel.run(cell)
    assert not _hit(reply)
    return reply.stdout


def test_a_recorded_result_is_bound_and_its_output_shown_again(kernel: Kernel) -> None:
    ok(kernel.run("n = 20"))
    cell = "%%remote --cache\nimport os\nprint('here'); b = [os.getpid(), n]\nb[1] * 2"
    assert _ran(kernel, cell) == "here\n"
    ok(kernel.run("was = b"))
    again = kernel.run(cell)
    assert _hit(again)
    assert " · recorded " in again.status_lines[-1]
    assert (again.stdout, again.result) == ("here\n", "40")
    assert ok(kernel.run("b == was, b is was")).result == "(True, False)"
    newest = ok(kernel.run("%compute runs")).stdout.splitlines()[1]
    assert " done " in newest
    assert " cache " in newest


def test_layout_and_place_do_not_matter(kernel: Kernel) -> None:
    ok(kernel.run("def f(a):\n    return a + 1\nclass C:\n    size = 3\n    def m(self): return 4"))
    _ran(kernel, "%%remote --cache\ny = f(1) + C().m()")
    ok(kernel.run("# elsewhere\n\ndef f(a):\n\n    return (a + 1)  # the same"))
    ok(kernel.run("class C:\n    # the same\n    size = 3\n\n    def m(self):\n        return 4"))
    assert _hit(kernel.run("%%remote --cache --name other\n# a comment\n\ny = f( 1 ) + C().m()"))


_CHANGES: dict[str, tuple[str, str, str]] = {
    "the cell": ("n = 1", "y = n + 1", ""),
    "an input": ("n = 1", "y = n", "n = 2"),
    "the type of an input": ("n = 1", "y = n", "n = 1.0"),
    "an array in place": (
        "import numpy as np; a = np.zeros(100_000)",
        "y = a.sum()",
        "a[77_777] = 1",
    ),
    "a list deep inside": ("d = {'k': [[1]]}", "y = d['k']", "d['k'][0].append(2)"),
    "a helper's global": (
        "k = 1\ndef g(): return k\ndef f(): return g()",
        "y = f()",
        "k = 2",
    ),
    "a helper's code": (
        "def g(): return 1\ndef f(): return g()",
        "y = f()",
        "def g(): return 2",
    ),
    "a default": ("def f(a=1): return a", "y = f()", "def f(a=2): return a"),
    "what a function closes over": (
        "def make(n):\n    return lambda: n\nf = make(1)",
        "y = f()",
        "f = make(2)",
    ),
    "a method": (
        "class C:\n    def m(self): return 1",
        "y = C().m()",
        "class C:\n    def m(self): return 2",
    ),
    "a class attribute": ("class C: size = 1", "y = C.size", "class C: size = 2"),
    "a variable": ("import os", "y = os.environ.get('FLAVOUR')", "%env FLAVOUR=sour"),
    "the directory": ("import os", "y = os.getcwd()", "os.chdir('/')"),
    "a kept value": ("n = 0", "y = x", "%%remote --keep x\nx = [n, 2]"),
}


@pytest.mark.parametrize("what", list(_CHANGES))
def test_after_a_change_it_runs_again(kernel: Kernel, what: str) -> None:
    before, cell, change = _CHANGES[what]
    ok(kernel.run("%%remote --keep x\nx = [1]"))
    ok(kernel.run(f"import os; was = os.getcwd()\n{before}"))
    _ran(kernel, f"%%remote --cache\n{cell}")
    assert _hit(kernel.run(f"%%remote --cache\n{cell}"))
    ok(kernel.run(change))
    _ran(kernel, f"%%remote --cache\n{cell if change else 'y = n + 2'}")
    ok(kernel.run("import os; os.chdir(was); os.environ.pop('FLAVOUR', None)"))


def test_another_ask_is_another_run(kernel: Kernel) -> None:
    _ran(kernel, "%%remote --cache --cpu 1\ny = 1")
    _ran(kernel, "%%remote --cache --cpu 2\ny = 1")
    _ran(kernel, "%%remote --cache --cpu 1 --memory 1G\ny = 1")
    assert _hit(kernel.run("%%remote --cache --cpu 2\ny = 1"))


def test_what_comes_back_is_part_of_it(kernel: Kernel) -> None:
    _ran(kernel, "%%remote --cache\na, b = 1, 2")
    _ran(kernel, "%%remote --cache --out a\na, b = 1, 2")
    _ran(kernel, "%%remote --cache --keep a\na, b = 1, 2")
    ok(kernel.run("was = a"))
    assert _hit(kernel.run("%%remote --cache --keep a\na, b = 1, 2"))
    assert ok(kernel.run("a is was, a.get()")).result == "(True, 1)"
    ok(kernel.run("%compute drop all"))
    _ran(kernel, "%%remote --cache --keep a\na, b = 1, 2")


def test_a_local_module_counts_with_all_it_imports(kernel: Kernel, modules: Path) -> None:
    (modules / "outer.py").write_text("import inner\ndef f():\n    return inner.g()\n")
    (modules / "inner.py").write_text("def g():\n    return 1\n")
    cell = "%%remote --cache\nimport importlib\nprint(importlib.import_module('out' + 'er').f())"
    assert _ran(kernel, cell) == "1\n"
    assert _hit(kernel.run(cell))
    (modules / "inner.py").write_text("def g():\n    return 1 + 1\n")
    assert _ran(kernel, cell) == "2\n"
    assert _hit(kernel.run(cell))
    (modules / "inner.py").unlink()
    assert kernel.run(cell).ename == "ModuleNotFoundError"


def test_a_new_module_may_hide_another(kernel: Kernel, modules: Path) -> None:
    cell = "%%remote --cache\nimport colorsys\nprint(hasattr(colorsys, 'mine'))"
    assert _ran(kernel, cell) == "False\n"
    (modules / "colorsys.py").write_text("mine = 1\n")
    assert _ran(kernel, cell) == "True\n"


def test_another_version_of_a_package_is_another_environment(kernel: Kernel, modules: Path) -> None:
    (modules / "sums-1.0.dist-info").mkdir()
    _ran(kernel, "%%remote --cache\ny = 1")
    assert _hit(kernel.run("%%remote --cache\ny = 1"))
    (modules / "sums-1.0.dist-info").rename(modules / "sums-1.1.dist-info")
    _ran(kernel, "%%remote --cache\ny = 1")


def test_a_failed_run_is_not_recorded(kernel: Kernel) -> None:
    for _ in range(2):
        reply = kernel.run("%%remote --cache --keep-partial\ny = 1\n1 / 0")
        assert reply.ename == "ZeroDivisionError"
        assert reply.status_lines[-1].startswith("✗")
    assert "no recorded results" in ok(kernel.run("%compute cache")).stdout


def test_a_function_with_cache_runs_once(kernel: Kernel) -> None:
    code = (
        "from jupyter_compute import remote\n"
        "@remote(cache=True)\ndef stamp(a, b=2):\n    import time\n"
        "    time.sleep(0.6)\n    return a + b, time.time_ns()"
    )
    ok(kernel.run(code))
    ok(kernel.run("first = stamp(1)"))
    again = kernel.run("second = stamp(1)")
    assert _hit(again)
    assert ok(kernel.run("first == second, first == stamp(2), first == stamp(1, b=3)")).result == (
        "(True, False, False)"
    )
    ok(kernel.run(code))
    assert ok(kernel.run("stamp(1) == first, stamp.submit(1).result() == first")).result == (
        "(True, True)"
    )


def test_displays_are_shown_again_in_order(kernel: Kernel) -> None:
    cell = (
        "%%remote --cache\nfrom IPython.display import HTML, display\n"
        "print('a'); display(HTML('<b>b</b>')); print('c')\nimport sys; print('d', file=sys.stderr)"
    )
    first, again = kernel.run(cell), kernel.run(cell)
    assert _hit(again)
    shown = [[(one["type"], one.get("text")) for one in reply.visible] for reply in (first, again)]
    assert shown[0] == shown[1]


def test_it_lists_and_forgets_what_it_has(kernel: Kernel) -> None:
    _ran(kernel, "%%remote --cache --name 'my sum'\ny = 1 + 1")
    assert _hit(kernel.run("%%remote --cache\ny = 1 + 1"))
    said = ok(kernel.run("%compute cache")).stdout
    assert "my sum" in said
    assert "\n1 result, " in said
    assert "1 recorded result forgotten" in ok(kernel.run("%compute cache clear")).stdout
    assert "no recorded results" in ok(kernel.run("%compute cache")).stdout
    _ran(kernel, "%%remote --cache\ny = 1 + 1")


def test_it_outlives_kernel_and_pool(home: Home) -> None:
    own = Kernel(home)
    try:
        cell = "%%remote --cache\nimport os\ny = {'who': os.getpid(), 'n': (n, f(n), C(n).n)}"
        setup = (
            "%load_ext jupyter_compute\nn = 3\n"
            "def f(a): return a + 1\nclass C:\n    def __init__(self, n): self.n = n"
        )
        ok(own.run(setup))
        _ran(own, cell)
        was = ok(own.run("y")).result
        ok(own.run("%compute stop"))
        own.restart()
        ok(own.run(setup))
        assert _hit(own.run(cell))
        assert ok(own.run("y")).result == was
    finally:
        own.close()


def test_what_was_changed_while_it_ran_is_not_recorded(kernel: Kernel, modules: Path) -> None:
    (modules / "settings_of_mine.py").write_text("n = 1\n")
    cell = (
        "%%remote --cache\nimport settings_of_mine, pathlib\n"
        "pathlib.Path(settings_of_mine.__file__).write_text('n = 2')"
    )
    assert "not recorded for --cache" in ok(kernel.run(cell)).status_lines[-1]
    assert "no recorded results" in ok(kernel.run("%compute cache")).stdout
