"""The catalogue of bad inputs, typed into a real notebook: the line and the text of the cell.

Ids bear the row of the catalogue. What is refused shows one line of usage, and no run was made.

====== =======================================================================================
row    where
====== =======================================================================================
1-9    here, `test_a_bad_line_is_refused`; 9 and 11 capped: `test_row09_row11_…`
10, 15 here, by number
12-14  here, `test_a_bad_line_is_refused`
16     here
17     here, `test_a_bad_line_is_refused` and `test_row17_…`
18-20  here, `test_a_bad_cell_is_refused`, `test_row19_…`, `test_row20_…`
21-25  here, by number
26-35  test_bad_values.py, by number
36     here, with row 22
37-38  test_bad_values.py, by number
39-42  test_bad_ends.py, by number
43     notebook/test_failures.py: packing, queued, running, caught, in a loop that ignores it;
       notebook/test_remote.py: a call
44     test_bad_ends.py; a second interrupt, and restarts: notebook/test_failures.py
45-47  cloud/test_account_faults.py, layers/test_account.py
48-49  here, `test_a_bad_line_is_refused`; against what a cloud offers: cloud/test_cells.py
50     test_bad_ends.py
====== =======================================================================================

How each text is read, with many more of them, is tested in tests/test_ask.py and
tests/notebook/test_options.py; this module is about what reaches the user.
"""

from __future__ import annotations

import json
import time

import pytest

from kernels import Kernel, ok, recent_runs

pytestmark = pytest.mark.slow

_TOO_MUCH = "is more than any known machine has; the largest is "

_LINES = [
    ("row01", "--memory 32 Gigabananas", "'32 Gigabananas' is not a size; use 32G (decimal)"),
    ("row02", "--memory 32", "'32' has no unit: 32 what? 32G or 32GiB"),
    ("row03-empty", "--memory ''", "--memory needs a value, e.g. 8G"),
    ("row03-unit", "--memory G", "'G' is a unit without a number: it needs a value, e.g. 8G"),
    ("row03-end", "--memory", "--memory needs a value, e.g. 8G"),
    ("row04-zero", "--memory 0", "is below the least, 64 MiB"),
    ("row04-negative", "--memory -1G", "'-1G' is below the least, 64 MiB"),
    ("row04-tiny", "--memory 1e-9G", "is below the least, 64 MiB"),
    ("row04-milli", "--memory 5m", "is below the least, 64 MiB; m is read as M"),
    ("row05-overflow", "--memory 1e400", "is not a finite size"),
    ("row05-nines", f"--memory {'9' * 30}G", _TOO_MUCH),
    ("row05-nan", "--memory nan", "is not a finite size"),
    ("row05-inf", "--memory inf", "is not a finite size"),
    ("row06-comma", "--memory 32,5G", "with one decimal point, e.g. 32.5G"),
    ("row06-hex", "--memory 0x10", "with one decimal point, e.g. 32.5G"),
    ("row06-points", "--memory 1.5.2G", "with one decimal point, e.g. 32.5G"),
    ("row07-arabic", "--memory \u0663\u0662G", "U+0663 ARABIC-INDIC DIGIT THREE"),
    ("row07-fullwidth", "--memory \uff13\uff12G", "U+FF13 FULLWIDTH DIGIT THREE"),
    ("row07-no-width", "--memory 32\u200bG", "U+200B ZERO WIDTH SPACE"),
    ("row07-dash", "\u2014cpu 2", "(it holds U+2014 EM DASH); did you mean --cpu?"),
    ("row08-zero", "--cpu 0", "'0' is not a number > 0, at least 0.1"),
    ("row08-negative", "--cpu -1", "is not a number > 0, at least 0.1"),
    ("row08-nan", "--cpu nan", "is not a number > 0, at least 0.1"),
    ("row08-inf", "--cpu inf", "is not a number > 0, at least 0.1"),
    ("row08-overflow", "--cpu 1e309", "is not a number > 0, at least 0.1"),
    ("row08-word", "--cpu eight", "'eight' is not a number > 0, at least 0.1"),
    ("row09-cpu", "--cpu 10000", f"{_TOO_MUCH}u7in-32tb.224xlarge (896 CPUs, 32 TiB)"),
    ("row09-memory", "--memory 100TiB", f"{_TOO_MUCH}u7in-32tb.224xlarge (896 CPUs, 32 TiB)"),
    ("row12", "--cpu 2 --cpu 4", "--cpu is given twice, '2' and '4'"),
    ("row12-flag", "--quiet --quiet", "--quiet is given twice"),
    ("row13-cpus", "--cpus 8", "did you mean --cpu?"),
    ("row13-mem", "--mem 8G", "did you mean --memory?"),
    ("row13-c", "--c 8", "did you mean --cpu"),
    ("row14-single", "--name 'my run", "quote not closed"),
    ("row14-double", '--name "my run', "quote not closed"),
    ("row17-braces", "--cpu {undefined}", "name 'undefined' is not defined"),
    ("row17-dollar", "--cpu $undefined", "name 'undefined' is not defined"),
    ("row48-timeout-0", "--timeout 0", "is not a time > 0 and at most 30 days"),
    ("row48-timeout-less", "--timeout -5", "is not a time > 0 and at most 30 days"),
    ("row48-timeout-year", "--timeout 1y", "is not a time > 0 and at most 30 days"),
    ("row48-timeout-nan", "--timeout nan", "is not a time > 0 and at most 30 days"),
    ("row48-retries-less", "--retries -1", "is not a whole number from 0 to 100"),
    ("row48-retries-many", "--retries 1000", "is not a whole number from 0 to 100"),
    ("row48-retries-half", "--retries 1.5", "is not a whole number from 0 to 100"),
    ("row48-max-cost-less", "--max-cost -1", "is not an amount of dollars from 0 to 1000000"),
    ("row48-max-cost-nan", "--max-cost nan", "is not an amount of dollars from 0 to 1000000"),
    ("row48-max-cost-unit", "--max-cost 5EUR", "is not an amount of dollars from 0 to 1000000"),
    ("row48-max-cost-much", "--max-cost 1e9", "is not an amount of dollars from 0 to 1000000"),
    ("row48-max-cost-short", "--budget 5", "did you mean --max-cost?"),
    ("row49-layer", "--on ec3", "'ec3' is not a layer here; did you mean ec2?"),
    ("row49-case", "--on Local", "did you mean local?"),
    ("row49-provider", "--provider ec3", "did you mean --on?"),
    ("row49-instance", "--instance m99.huge", "local has no 'm99.huge' here"),
    ("row49-region", "--region eu-west-1", "'--region' is not an option of %%remote"),
    ("row49-gpu", "--gpu 1", "has no such GPU: asked 1 cpu 1 gpu, it has "),
]

_CELLS = [
    ("row18-line", "%%remote", "nothing to run"),
    ("row18-options", "%%remote --cpu 2\n", "nothing to run"),
    ("row18-blank", "%%remote\n   \n\n", "nothing to run"),
    ("row18-comments", "%%remote\n# only\n  # comments", "nothing to run"),
    ("row19-code", "x = 1\n%%remote --cpu 2\nmade = 2", "must be the first line"),
    ("row19-comment", "# fit it\n%%remote\nmade = 2", "the lines above it have run here"),
    ("row20-case", "%%Remote\nmade = 1", "`%%Remote` not found"),
    ("row20-space", "%% remote\nmade = 1", "not found"),
    ("row23-nul", "%%remote\nmade = 1\ny = 'a\0b'", "line 3, column 7: a NUL character"),
    ("row24-remote", "%%remote\nmade = 1\n%%remote\n1", "line 3: %%remote cannot be used inside"),
    ("row24-load", "%%remote\n%load_ext jupyter_compute", "line 2: %load_ext jupyter_compute"),
    ("row24-debug", "%%remote\nmade = 1\n%debug", "line 3: %debug needs a keyboard"),
    ("row24-pdb", "%%remote\nimport pdb; pdb.set_trace()", "pdb.set_trace() needs a keyboard"),
    ("row24-input", "%%remote\nmade = input('?')", "line 2: input() needs a keyboard"),
    ("row24-compute", "%%remote\n%compute", "%compute works in the notebook only"),
    ("row25-second-line", "%%remote\n%%remote\nmade = 1", "line 2: %%remote cannot be used inside"),
]

_BROKEN = [
    ("row21-indent", "%%remote\nx = 1\n   made = 2", "IndentationError", "line 3"),
    ("row21-tabs", "%%remote\nif 1:\n\tx = 1\n        made = 2", "TabError", "line 4"),
    ("row21-crlf", "%%remote\r\nmade = 1\r\nfor", "SyntaxError", "line 3"),
    ("row22", "%%remote\nmade = 1\ny = (1 +* 2)", "SyntaxError", "y = (1 +* 2)\n            ^"),
    ("row36-return", "%%remote\nmade = 1\nreturn made", "SyntaxError", "line 3\n    return made"),
    ("row36-yield", "%%remote\nmade = 1\nyield made", "SyntaxError", "line 3\n    yield made"),
    ("row36-nonlocal", "%%remote\nmade = 1\nnonlocal made", "SyntaxError", "line 3"),
]


def _refused(kernel: Kernel, cell: str) -> str:
    """Run a cell that must be refused; return the one line that the user sees."""
    before = recent_runs(kernel)
    reply = kernel.run(cell)
    assert (reply.status, reply.ename) == ("error", "UsageError"), reply
    assert [one["type"] for one in reply.outputs] == ["stream"]
    assert reply.stderr.startswith("UsageError: ")
    assert reply.stderr.count("\n") == 1
    assert recent_runs(kernel) == before
    assert ok(kernel.run("'made' in globals()")).result == "False"
    return reply.stderr


@pytest.mark.parametrize(
    ("line", "words"), [case[1:] for case in _LINES], ids=[case[0] for case in _LINES]
)
def test_a_bad_line_is_refused(kernel: Kernel, line: str, words: str) -> None:
    assert words in _refused(kernel, f"%%remote {line}\nmade = 1")


@pytest.mark.parametrize(
    ("cell", "words"), [case[1:] for case in _CELLS], ids=[case[0] for case in _CELLS]
)
def test_a_bad_cell_is_refused(kernel: Kernel, cell: str, words: str) -> None:
    assert words in _refused(kernel, cell)


@pytest.mark.parametrize(
    ("cell", "error", "place"), [case[1:] for case in _BROKEN], ids=[case[0] for case in _BROKEN]
)
def test_code_that_is_no_python_fails_as_it_does_locally(
    kernel: Kernel, cell: str, error: str, place: str
) -> None:
    before = recent_runs(kernel)
    reply = kernel.run(cell)
    assert (reply.status, reply.ename) == ("error", error)
    assert place in reply.traceback
    assert reply.traceback.splitlines()[-1].startswith(f"{error}: ")
    assert reply.status_lines == []
    assert recent_runs(kernel) == before


def _memory_of_last_run(kernel: Kernel) -> int:
    asked = ok(kernel.run("import jupyter_compute\njupyter_compute.runs()[0].receipt.memory"))
    return int(asked.result)


def test_row07_spaces_that_do_not_break_are_spaces(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote --cpu\u00a01\u00a0--memory\u00a0512M\n6 * 7"))
    assert reply.result == "42"
    assert _memory_of_last_run(kernel) == 512 * 10**6


def test_row09_an_impossible_ask_is_refused_at_once(kernel: Kernel) -> None:
    started = time.monotonic()
    assert kernel.run("%%remote --cpu 10000\n1").ename == "UsageError"
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("line", ["--cpu 896", "--cpu 96 --memory 1G"], ids=["row09", "row11"])
def test_row09_row11_more_than_this_computer_is_capped_visibly(kernel: Kernel, line: str) -> None:
    reply = ok(kernel.run(f"%%remote {line}\n6 * 7"))
    assert reply.result == "42"
    note = reply.status_lines[-1].splitlines()[1]
    assert note.startswith(f"  asked {line.split()[1]} cpu ")
    assert "this computer has " in note
    assert "running with " in note
    planned = ok(kernel.run(f"%%remote {line} --plan\n6 * 7")).stdout
    assert "at no cost" in planned
    assert note.strip() in planned


def test_row10_parts_of_cpus_are_granted_and_threads_rounded_up(kernel: Kernel) -> None:
    cell = "import os\nos.environ['OMP_NUM_THREADS'], len(os.sched_getaffinity(0))"
    assert ok(kernel.run(f"%%remote --cpu 0.25\n{cell}")).result == "('1', 1)"
    reply = ok(kernel.run(f"%%remote --cpu 1.5\n{cell}"))
    capped = "asked 1.5 cpu" in reply.status_lines[-1]
    assert reply.result == ("('1', 1)" if capped else "('2', 2)")
    assert "0.25 cpu" in ok(kernel.run("%compute runs")).stdout


def test_row15_a_comment_on_the_line_is_a_comment(kernel: Kernel) -> None:
    assert ok(kernel.run("%%remote --cpu 1 # --cpu 'eight\n6 * 7")).result == "42"
    assert ok(kernel.run("%%remote # as it is\n6 * 7")).result == "42"


@pytest.mark.parametrize(
    "cell", ["%%remote --help", "%%remote --help\nmade = 1", "%remote --help", "%remote"]
)
def test_row16_help_is_shown_and_nothing_is_run(kernel: Kernel, cell: str) -> None:
    before = recent_runs(kernel)
    reply = ok(kernel.run(cell))
    assert "--memory SIZE" in reply.stdout
    assert ("no runs" in reply.stdout) == (cell == "%remote")
    assert recent_runs(kernel) == before


def test_row16_a_question_mark_shows_what_the_magic_is_for(kernel: Kernel) -> None:
    ok(kernel.run("%%remote?"))
    asked = "print(get_ipython().object_inspect_text('%%remote'))"
    assert "%%remote --help" in ok(kernel.run(asked)).stdout


def test_row17_a_name_that_is_defined_is_put_in(kernel: Kernel) -> None:
    ok(kernel.run("size = '512M'"))
    ok(kernel.run("%%remote --cpu {0.5 + 0.5} --memory $size\n1"))
    assert _memory_of_last_run(kernel) == 512 * 10**6


def test_row19_the_lines_above_have_run(kernel: Kernel) -> None:
    kernel.run("above = 1\n%%remote\nmade = 2")
    assert ok(kernel.run("above, 'made' in globals()")).result == "(1, False)"


def test_row20_a_byte_order_mark_is_pythons_to_refuse(kernel: Kernel) -> None:
    reply = kernel.run("\ufeff%%remote\nmade = 1")
    assert reply.ename == "SyntaxError"
    assert "U+FEFF" in reply.traceback


def test_row21_lines_may_end_as_on_windows(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote --cpu 1\r\nx = 1\r\nif x:\r\n    print('crlf')\r\nx + 41\r\n"))
    assert (reply.stdout, reply.result) == ("crlf\n", "42")


def test_row23_half_a_character_is_refused(kernel: Kernel) -> None:
    # Jupyter's own client cannot send it; a program in the notebook can.
    body = json.dumps("made = 1\nx = '\ud800'")
    refusal = _refused(kernel, f"get_ipython().run_cell_magic('remote', '', {body})")
    assert "line 3, column 6: half of a surrogate pair (U+D800)" in refusal


@pytest.mark.parametrize(
    ("body", "printed", "value"),
    [
        ("%timeit -n1 -r1 1 + 1", "per loop", ""),
        ("!echo from {place}", "from a shell", ""),
        ("lines = !echo one\nlines", "", "['one']"),
        ("%cd -q /\n%pwd", "", "'/'"),
        ("%%bash\necho script", "script", ""),
        ("%time made = 5\nmade", "Wall time", "5"),
    ],
    ids=["timeit", "shell", "assigned", "cd", "bash", "time"],
)
def test_row24_magics_run_where_the_cell_runs(
    kernel: Kernel, body: str, printed: str, value: str
) -> None:
    ok(kernel.run("place = 'a shell'\nimport os\nbefore = os.getcwd()"))
    reply = ok(kernel.run(f"%%remote\n{body}"))
    assert printed in reply.stdout
    assert reply.result == value
    assert ok(kernel.run("os.getcwd() == before")).result == "True"


def test_row24_a_function_that_reads_the_keyboard_is_told_in_the_run(kernel: Kernel) -> None:
    reply = kernel.run("%%remote\nread = input\nread('?')")
    assert reply.ename == "StdinNotImplementedError"
    assert "a remote run has no keyboard" in reply.traceback


def test_row25_a_run_inside_a_run_is_refused_there(kernel: Kernel) -> None:
    ok(kernel.run("def nested():\n    get_ipython().run_cell_magic('remote', '', 'x = 1')"))
    before = recent_runs(kernel)
    reply = kernel.run("%%remote\nnested()")
    assert reply.ename == "UsageError"
    assert "a run cannot start another run" in reply.stderr
    assert len(set(recent_runs(kernel)) - set(before)) == 1


def test_row25_a_remote_function_inside_a_run_runs_in_place_and_says_so(kernel: Kernel) -> None:
    ok(kernel.run("from jupyter_compute import remote\n@remote\ndef double(x): return 2 * x"))
    before = recent_runs(kernel)
    reply = ok(kernel.run("%%remote\n[double(n) for n in range(3)]"))
    assert reply.result == "[0, 2, 4]"
    assert reply.status_lines[-1].count("double runs inside this run") == 1
    assert len(set(recent_runs(kernel)) - set(before)) == 1
