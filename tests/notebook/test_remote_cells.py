"""``%%remote`` in a real kernel: a cell behaves as if it had run there."""

from __future__ import annotations

import pytest

from kernels import Kernel, ok

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded and no names."""
    return shared_kernel


def test_names_come_back_and_the_last_expression_is_displayed(kernel: Kernel) -> None:
    ok(kernel.run("a = 20"))
    reply = ok(kernel.run("%%remote --cpu 1 --memory 1G\nb = a + 1\nprint('out')\nb * 2"))
    assert reply.result == "42"
    assert reply.stdout == "out\n"
    assert ok(kernel.run("a, b, _")).result == "(20, 21, 42)"


def test_a_semicolon_hides_the_last_expression(kernel: Kernel) -> None:
    ok(kernel.run("%%remote\n1"))
    assert ok(kernel.run("%%remote\n2 + 2;")).result == ""
    assert ok(kernel.run("_")).result == "1"


def test_changes_in_place_and_deletions_come_back(kernel: Kernel) -> None:
    ok(kernel.run("numbers = [1]; same = numbers; gone = 1"))
    ok(kernel.run("%%remote\nnumbers.append(2)\ndel gone"))
    assert ok(kernel.run("numbers, 'gone' in globals()")).result == "([1, 2], False)"


def test_the_status_line_ends_as_the_receipt(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote\nprint(1)"))
    assert reply.status_lines[0].startswith("▸ ")
    assert reply.status_lines[-1].startswith("✓ ")
    assert " on local" in reply.status_lines[-1]
    shown = [
        one for one in reply.visible if "data-jc-run" in one.get("data", {}).get("text/html", "")
    ]
    assert len(shown) == 1
    assert reply.visible[0] == shown[0]


def test_quiet_shows_only_the_cells_own_output(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote --quiet\nprint(1)\n2"))
    assert [one["type"] for one in reply.outputs] == ["stream", "execute_result"]


def test_clear_output_leaves_the_status_line_on_top(kernel: Kernel) -> None:
    code = (
        "%%remote\nfrom IPython.display import clear_output\n"
        "print('first'); clear_output(); print('second'); clear_output(wait=True); print('third')"
    )
    shown = ok(kernel.run(code)).visible
    assert [one["type"] for one in shown] == ["display_data", "stream"]
    assert shown[0]["data"]["text/plain"].startswith("✓")
    assert shown[1]["text"] == "third\n"


def test_displays_and_their_updates_arrive_in_order(kernel: Kernel) -> None:
    code = (
        "%%remote\nfrom IPython.display import HTML, display\n"
        "display(HTML('<b>one</b>'))\nprint('between')\n"
        "handle = display('two', display_id=True)\nhandle.update('three')"
    )
    reply = ok(kernel.run(code))
    assert [data.get("text/html", data["text/plain"]) for data in reply.displays] == [
        "<b>one</b>",
        "'two'",
    ]
    assert [data["text/plain"] for data in reply.updates] == ["'three'"]
    kinds = [one["type"] for one in reply.visible]
    assert kinds == ["display_data", "display_data", "stream", "display_data"]


def test_an_exception_has_its_type_and_the_cells_own_lines(kernel: Kernel) -> None:
    ok(kernel.run("def ratio(a, b):\n    ready = True\n    return a / b"))
    reply = kernel.run("%%remote\n\nvalue = 1\nresult = ratio(value, 0)")
    assert (reply.status, reply.ename) == ("error", "ZeroDivisionError")
    assert "----> 4 result = ratio(value, 0)" in reply.traceback
    assert "----> 3     return a / b" in reply.traceback
    assert "jupyter_compute" not in reply.traceback
    assert reply.status_lines[-1].startswith("✗ ZeroDivisionError after ")
    assert ok(kernel.run("'value' in globals()")).result == "False"


def test_causes_keep_their_lines_too(kernel: Kernel) -> None:
    code = "%%remote\ntry:\n    {}['key']\nexcept KeyError as error:\n    raise ValueError('no') from error"
    reply = kernel.run(code)
    assert reply.ename == "ValueError"
    assert "----> 3     {}['key']" in reply.traceback
    assert "----> 5     raise ValueError('no') from error" in reply.traceback


def test_a_class_of_the_notebook_stays_the_same_class(kernel: Kernel) -> None:
    ok(kernel.run("class Trouble(Exception): pass"))
    code = "try:\n    get_ipython().run_cell_magic('remote', '--quiet', 'raise Trouble(7)')\n"
    assert (
        ok(kernel.run(f"{code}except Trouble as error:\n    print(error.args)")).stdout == "(7,)\n"
    )


def test_a_syntax_error_is_found_before_anything_is_sent(kernel: Kernel) -> None:
    reply = kernel.run("%%remote\nx = 1\nfor")
    assert (reply.status, reply.ename) == ("error", "SyntaxError")
    assert "line 3" in reply.traceback
    assert reply.status_lines == []


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%remote --cpus 2\n1", "did you mean --cpu"),
        ("%%remote --memory 32\n1", "no unit"),
        ("%%remote --gpu 1\n1", "no such GPU"),
        ("%%remote --on moon\n1", "is not a layer"),
        ("%%remote\n# nothing", "nothing to run"),
        ("%%remote\ninput()", "needs a keyboard"),
        ("%%remote\nx = 1\n%remote", "must be the first line"),
        ("x = 1\n%%remote\n2", "must be the first line"),
        ("%remote x = 1", "whole cells only"),
    ],
)
def test_a_refusal_is_one_line_of_usage(kernel: Kernel, cell: str, words: str) -> None:
    reply = kernel.run(cell)
    assert reply.status == "error"
    assert reply.ename == "UsageError"
    assert reply.stderr.startswith("UsageError: ")
    assert words in reply.stderr
    assert reply.stderr.count("\n") == 1
    assert reply.status_lines == []


def test_help_shows_every_option(kernel: Kernel) -> None:
    assert "--memory SIZE" in ok(kernel.run("%%remote --help\n1")).stdout
    assert "--memory SIZE" in ok(kernel.run("%remote")).stdout


def test_all_that_cannot_be_sent_is_named_at_once(kernel: Kernel) -> None:
    ok(kernel.run("import threading\nbox = {'a': [threading.Lock()]}\nlazy = (i for i in [1])"))
    reply = kernel.run("%%remote\nbox, lazy")
    assert reply.ename == "TransferError"
    assert "box['a'][0] is a lock" in reply.traceback
    assert "list(lazy)" in reply.traceback
    assert reply.status_lines == []


def test_what_cannot_come_back_is_said_and_the_rest_comes(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote\nlazy = (i for i in [1])\nrest = 3"))
    assert "lazy stays behind" in reply.status_lines[-1]
    assert ok(kernel.run("rest, 'lazy' in globals()")).result == "(3, False)"
    quiet = ok(kernel.run("%%remote --quiet\nlazy = (i for i in [1])"))
    assert "lazy stays behind" in quiet.stderr


def test_a_credential_is_held_back_unless_it_is_asked_for(kernel: Kernel) -> None:
    ok(
        kernel.run(
            "db_password = 'correct horse battery staple'\ndef connect(): return db_password"
        )
    )
    reply = kernel.run("%%remote\nprint(db_password)")
    assert reply.ename == "NameError"
    assert "db_password looks like a password and was not sent" in reply.status_lines[-1]
    assert kernel.run("%%remote\nconnect()").ename == "NameError"
    assert "correct horse" in ok(kernel.run("%%remote --in db_password\nconnect()")).result


def test_a_name_that_code_does_not_spell_out_is_hinted_at(kernel: Kernel) -> None:
    ok(kernel.run("hidden = 3"))
    reply = kernel.run("%%remote\neval('hid' + 'den')")
    assert reply.ename == "NameError"
    assert "--in hidden sends it" in reply.traceback
    assert ok(kernel.run("%%remote --in hidden\neval('hid' + 'den')")).result == "3"


def test_a_caught_exception_of_a_background_cell_is_bound_when_its_result_is_asked_for(
    shared_kernel: Kernel,
) -> None:
    ok(shared_kernel.run("%%remote --bg job --catch problem\n1 / 0"))
    reply = shared_kernel.run("job.result(), type(problem).__name__, job.state")
    assert reply.result == "(None, 'ZeroDivisionError', 'failed')", reply


def test_catch_binds_the_exception_or_none(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --catch error\n1 / 0"))
    assert ok(kernel.run("repr(error)")).result == "\"ZeroDivisionError('division by zero')\""
    assert ok(kernel.run("%%remote --catch error\n5")).result == "5"
    assert ok(kernel.run("print(error)")).stdout == "None\n"


def test_out_and_keep_partial_choose_what_comes_back(kernel: Kernel) -> None:
    ok(kernel.run("%%remote --out first\nfirst = 1; second = 2"))
    assert ok(kernel.run("first, 'second' in globals()")).result == "(1, False)"
    assert kernel.run("%%remote --keep-partial\nkept = 4\n1 / 0").ename == "ZeroDivisionError"
    assert ok(kernel.run("kept")).result == "4"


def test_retries_are_told_below_the_status_line(kernel: Kernel) -> None:
    code = (
        "%%remote --retries 2 --retry-delay 0.01s\nfrom pathlib import Path\n"
        "tries = Path('tries'); n = len(tries.read_text()) if tries.exists() else 0\n"
        "tries.write_text('x' * (n + 1))\nif n < 2: raise OSError('flaky')\nn"
    )
    reply = ok(kernel.run(code))
    assert reply.result == "2"
    assert "3 attempts" in reply.status_lines[-1]
    assert "attempt 1: " in reply.status_lines[-1]
    assert "flaky" in reply.status_lines[-1]


def test_an_oversized_ask_is_capped_with_a_note(kernel: Kernel) -> None:
    reply = ok(kernel.run("%%remote --cpu 500\n1"))
    assert "asked 500 cpu" in reply.status_lines[-1]


def test_plan_runs_nothing(kernel: Kernel) -> None:
    ok(kernel.run("data = 'x' * 1_000_000"))
    reply = ok(kernel.run("%%remote --plan\nprint(len(data))"))
    assert "would run on local with 1 cpu" in reply.stdout
    assert "1 MB" in reply.stdout
    assert reply.status_lines == []


def test_a_remote_function_inside_a_cell_is_a_plain_function(kernel: Kernel) -> None:
    code = "from jupyter_compute import remote\n@remote\ndef double(x): return 2 * x"
    ok(kernel.run(code))
    assert ok(kernel.run("%%remote\ndouble(21)")).result == "42"


def test_loading_twice_and_unloading_do_no_harm(kernel: Kernel) -> None:
    ok(kernel.run("%load_ext jupyter_compute\n%reload_ext jupyter_compute"))
    ok(kernel.run("%unload_ext jupyter_compute"))
    assert "not found" in kernel.run("%%remote\n1").stderr
    ok(kernel.run("%load_ext jupyter_compute"))
    assert ok(kernel.run("%%remote\n1")).result == "1"
