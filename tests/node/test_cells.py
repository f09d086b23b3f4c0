"""A cell in a child changes the namespace as it would have in the kernel."""

from __future__ import annotations

import os
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import Bench, gone


def define(bench: Bench, source: str) -> None:
    """Run code in the namespace here, as an ordinary cell does."""
    exec(compile(textwrap.dedent(source), "<here>", "exec"), bench.namespace)


def test_assigned_names_and_the_last_value_come_back(bench: Bench) -> None:
    bench.namespace["x"] = 3
    ran = bench.cell("y = x + 1\ny * 2", ["x"])
    assert ran.result.values == {"y": 4}
    assert (ran.result.has_last, ran.result.last) == (True, 8)


def test_what_is_only_read_does_not_come_back(bench: Bench) -> None:
    bench.namespace["df"] = {"a": [1, 2]}
    assert bench.cell("total = sum(df['a'])", ["df"]).result.values == {"total": 3}


def test_a_value_changed_in_place_comes_back(bench: Bench) -> None:
    bench.namespace.update(lst=[1], arr=np.zeros(100_000), frozen=np.ones(100_000))
    ran = bench.cell("lst.append(2); arr[7] = 1; frozen.sum()", ["lst", "arr", "frozen"])
    assert ran.result.values.keys() == {"lst", "arr"}
    assert ran.result.values["lst"] == [1, 2]
    assert ran.result.values["arr"][7] == 1
    assert bench.namespace["arr"][7] == 0


def test_arrays_arrive_writable(bench: Bench) -> None:
    bench.namespace["arr"] = np.zeros(100_000)
    assert bench.cell("arr.flags.writeable", ["arr"]).result.last is True


def test_an_unchanged_input_keeps_its_identity(bench: Bench) -> None:
    bench.namespace.update(model={"w": [1, 2]}, arr=np.arange(50_000))
    ran = bench.cell("same = model\npair = [arr, model]\nmodel", ["model", "arr"])
    assert ran.result.values["same"] is bench.namespace["model"]
    assert ran.result.values["pair"][0] is bench.namespace["arr"]
    assert ran.result.last is bench.namespace["model"]


def test_two_names_of_one_object_stay_one_object(bench: Bench) -> None:
    bench.namespace["a"] = bench.namespace["b"] = [1]
    values = bench.cell("a.append(2)", ["a", "b"]).result.values
    assert values["a"] is values["b"]


def test_deleted_names_are_reported(bench: Bench) -> None:
    bench.namespace.update(tmp=1, kept=2)
    assert bench.cell("del tmp", ["tmp", "kept"]).result.deleted == ["tmp"]


def test_functions_share_the_namespace_as_their_globals(bench: Bench) -> None:
    define(bench, "K = 2\ndef helper(v):\n    return v * K\ndef top(v):\n    return helper(v) + 1")
    ran = bench.cell("K = 10\nresult = top(3)", ["top"])
    assert ran.result.values["result"] == 31
    assert ran.result.values["K"] == 10


def test_a_function_that_comes_back_sees_the_notebooks_names(bench: Bench) -> None:
    bench.namespace["offset"] = 100
    bench.namespace.update(bench.cell("def g(v):\n    return v + offset", []).result.values)
    bench.namespace["offset"] = 5
    assert bench.namespace["g"](1) == 6


def test_a_global_that_a_called_function_changes_comes_back(bench: Bench) -> None:
    define(
        bench,
        "log = []\ncount = 0\ndef note(v):\n    global count\n    count += 1\n    log.append(v)",
    )
    assert bench.cell("note('a')", ["note"]).result.values == {"count": 1, "log": ["a"]}


def test_classes_keep_their_identity(bench: Bench) -> None:
    define(
        bench,
        "class P:\n    def __init__(self, v):\n        self.v = v\n    def twice(self):\n        return self.v * 2",
    )
    values = bench.cell("p = P(4)\nq = p.twice()", ["P"]).result.values
    assert values["q"] == 8
    assert type(values["p"]) is bench.namespace["P"]
    assert values["p"].twice() == 8


def test_an_instance_brings_the_globals_of_its_methods(bench: Bench) -> None:
    define(bench, "RATE = 3\nclass M:\n    def go(self):\n        return RATE\nmodels = [M()]")
    assert bench.cell("models[0].go()", ["models"]).result.last == 3


def test_cached_functions_travel_both_ways(bench: Bench) -> None:
    define(
        bench,
        "from functools import lru_cache\n@lru_cache(maxsize=5)\ndef fib(n):\n"
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)",
    )
    ran = bench.cell(
        "from functools import cache\n@cache\ndef twice(n):\n    return 2 * fib(n)\ntwice(10)",
        ["fib"],
    )
    assert ran.result.last == 110
    bench.namespace.update(ran.result.values)
    assert bench.namespace["twice"](20) == 13530
    assert bench.namespace["twice"].cache_info().currsize == 1


def test_out_brings_back_only_these_names(bench: Bench) -> None:
    ran = bench.cell("a = 1\nb = 2", out=["b", "c"])
    assert ran.result.values == {"b": 2}
    assert "c was not assigned" in ran.notes


def test_line_numbers_are_those_of_the_notebook(bench: Bench) -> None:
    ran = bench.cell("a = 1\nb = 0\na / b")
    assert isinstance(ran.result.error, ZeroDivisionError)
    assert "line 4, in <module>\n    a / b" in ran.envelope["traceback"]


def test_magics_shell_lines_and_await(bench: Bench) -> None:
    ran = bench.cell(
        "import asyncio\nfiles = !printf 'a\\nb'\n%time z = 5\nawait asyncio.sleep(0, 'slept')"
    )
    assert list(ran.result.values["files"]) == ["a", "b"]
    assert ran.result.values["z"] == 5
    assert ran.result.last == "slept"


def test_output_keeps_its_order_across_processes(bench: Bench) -> None:
    ran = bench.cell(
        "import os, sys\nprint('1')\nos.system('echo 2; echo 3 >&2')\nprint('4')\n"
        "sys.stderr.write('5\\n')\nos.write(1, b'6\\n')\nprint('7')"
    )
    assert ran.text() == "1\n2\n4\n6\n7\n"
    assert ran.text("stderr") == "3\n5\n"


def test_output_of_c_code_and_odd_bytes_arrive(bench: Bench) -> None:
    ran = bench.cell(
        "import ctypes, os\nctypes.CDLL(None).printf(b'from C\\n')\n"
        "os.write(1, b'\\xff \\xe2\\x82')\nos.write(1, b'\\xac\\n')"
    )
    assert sorted(ran.text().splitlines()) == ["from C", "\ufffd \u20ac"]


def test_displays_travel_in_order_with_text(bench: Bench) -> None:
    ran = bench.cell(
        "from IPython.display import HTML, display, clear_output\nprint('a')\n"
        "h = display(HTML('<b>x</b>'), display_id='d1')\nprint('b')\n"
        "h.update(HTML('<i>y</i>'))\nclear_output(wait=True)"
    )
    shown = [e for e in ran.events if e["kind"] in ("stdout", "display", "clear")]
    kinds = [kind for kind, _ in groupby(e["kind"] for e in shown)]
    assert kinds == ["stdout", "display", "stdout", "display", "clear"]
    first, second = (e for e in shown if e["kind"] == "display")
    assert first["data"]["text/html"] == "<b>x</b>"
    assert first["transient"] == {"display_id": "d1"}
    assert (second["update"], second["data"]["text/html"]) == (True, "<i>y</i>")
    assert shown[-1]["wait"] is True


def test_figures_are_displayed_once_and_come_back(bench: Bench) -> None:
    ran = bench.cell("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2]);")
    assert [list(e["data"]) for e in ran.events if e["kind"] == "display"] == [
        ["text/plain", "image/png"]
    ]
    assert type(ran.result.values["fig"]).__name__ == "Figure"


def test_a_last_value_that_cannot_travel_is_displayed(bench: Bench) -> None:
    ran = bench.cell("(i for i in range(3))")
    assert not ran.result.has_last
    assert "generator object" in ran.events[-2]["data"]["text/plain"]


def test_a_result_that_cannot_travel_is_named_and_the_others_come(bench: Bench) -> None:
    ran = bench.cell("import threading\ncache = {'l': threading.Lock()}\nx = 1")
    assert ran.result.values["x"] == 1
    assert "cache" not in ran.result.values
    assert "cache" in ran.notes
    assert "lock" in ran.notes


def test_asked_for_result_that_cannot_travel_is_an_error(bench: Bench) -> None:
    ran = bench.cell("import threading\ncache = {'l': threading.Lock()}", out=["cache"])
    assert (ran.envelope["outcome"], ran.envelope["reason"]) == ("died", "transfer")
    assert ran.envelope["facts"]["path"] == "cache['l']"


def test_partial_results_come_only_on_request(bench: Bench) -> None:
    assert bench.cell("a = 1\n1/0").result.values == {}
    partial = bench.cell("a = 1\n1/0", keep_partial=True).result
    assert partial.values == {"a": 1}
    assert isinstance(partial.error, ZeroDivisionError)


def test_modules_beside_the_notebook_are_imported_afresh(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    module = tmp_path / "beside_me.py"
    for answer in (1, 22):
        module.write_text(f"ANSWER = {answer}\n")
        assert bench.cell("import beside_me\nbeside_me.ANSWER").result.last == answer


def test_directory_and_variables_are_the_notebooks(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_SETTING", "yes")
    before = os.umask(0o027)
    try:
        ran = bench.cell(
            "import os\nos.close(os.open('made', os.O_CREAT, 0o666))\n"
            "[os.getcwd(), os.environ['MY_SETTING']]"
        )
    finally:
        os.umask(before)
    assert ran.result.last == [str(tmp_path), "yes"]
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o640


def test_a_directory_that_is_gone_is_said(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_soon = tmp_path / "gone-soon"
    gone_soon.mkdir()
    monkeypatch.chdir(gone_soon)
    gone_soon.rmdir()
    ran = bench.cell("1 + 1")
    assert ran.result.last == 2
    assert "cannot be entered" in ran.notes


def test_cpu_limits_reach_threads_and_libraries(bench: Bench) -> None:
    ran = bench.cell(
        "import os\n[len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS']]", cpu=0.5
    )
    assert ran.result.last == [1, "1"]


def test_children_do_not_share_random_numbers(bench: Bench) -> None:
    source = "import random, numpy as np\n[random.random(), np.random.rand()]"
    bench.cell("import numpy.random")
    first, second = (bench.cell(source).result.last for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_a_function_runs_with_its_arguments(bench: Bench) -> None:
    define(bench, "K = 3\ndef f(a, b=1):\n    print('in f')\n    return a * K + b")
    ran = bench.call(bench.namespace["f"], 4)
    assert ran.result.last == 13
    assert ran.text() == "in f\n"


def test_a_coroutine_function_is_awaited(bench: Bench) -> None:
    define(bench, "import asyncio\nasync def f(a):\n    await asyncio.sleep(0)\n    return a + 1")
    assert bench.call(bench.namespace["f"], 4).result.last == 5


def test_a_returned_value_that_cannot_travel_is_an_error(bench: Bench) -> None:
    define(bench, "import threading\ndef f():\n    return [threading.Lock()]")
    ran = bench.call(bench.namespace["f"])
    assert ran.envelope["reason"] == "transfer"
    assert "[0]" in ran.envelope["facts"]["path"]


def test_multiprocessing_works_inside(bench: Bench) -> None:
    define(
        bench,
        """
        def work():
            import multiprocessing
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(abs, [-1, -2])
        """,
    )
    assert bench.call(bench.namespace["work"]).result.last == [1, 2]


def test_a_forked_process_that_prints_disturbs_nothing(bench: Bench) -> None:
    ran = bench.cell(
        "import os\npid = os.fork()\nif pid == 0:\n    print('x' * 100_000)\n    os._exit(0)\n"
        "for i in range(200): print('y' * 500)\n_ = os.waitpid(pid, 0)"
    )
    assert ran.envelope["outcome"] == "ok"
    assert ran.text().count("x") == 100_000
    assert ran.text().count("y") == 100_000


def test_what_is_left_running_is_ended_and_said(bench: Bench) -> None:
    ran = bench.cell(
        "import subprocess, threading, time\n"
        "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\np.pid"
    )
    assert "1 process still running" in ran.notes
    assert "1 thread still running" in ran.notes
    assert gone(ran.result.last)


def test_input_is_refused(bench: Bench) -> None:
    error: Any = bench.cell("def f():\n    return input('? ')\nf()").result.error
    assert type(error).__name__ == "StdinNotImplementedError"
    assert "keyboard" in str(error)


def test_a_flood_is_cut_in_the_middle(bench: Bench) -> None:
    ran = bench.cell("print('first')\nfor i in range(300_000): print('x' * 60)\nprint('last')")
    text = ran.text()
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert len(text) < 9 * 2**20
    (note,) = [e["text"] for e in ran.events if e["kind"] == "note"]
    assert "left out here" in note


def test_unicode_and_lone_surrogates(bench: Bench) -> None:
    assert bench.cell("print('\u20ac', chr(0xd800))").text() == "\u20ac \\ud800\n"


def test_the_child_knows_that_it_is_one(bench: Bench) -> None:
    assert "JUPYTER_COMPUTE_RUN" not in os.environ
    assert bench.cell("import os\nos.environ['JUPYTER_COMPUTE_RUN']").result.last.startswith("r-")
