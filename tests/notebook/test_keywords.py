"""The keywords of ``remote(...)``, and defaults under what a cell or a call gives."""

from __future__ import annotations

import pytest

from jupyter_compute.errors import AskError
from jupyter_compute.notebook.options import (
    DEFAULTABLE,
    Options,
    from_keywords,
    help_text,
    parse_line,
)

LAYERS = ("local", "ec2", "fargate")


def test_no_keyword_gives_the_defaults():
    assert from_keywords() == Options()


def test_keywords_are_read_as_the_line_is():
    line = parse_line("--cpu 8 --memory 8G..64G --retries 3 --timeout 1h --on ec2 --name fit")
    words = from_keywords(
        LAYERS, cpu=8, memory="8G..64G", retries=3, timeout=3600, on="ec2", name="fit"
    )
    assert words == line


def test_retry_on_may_be_exception_classes():
    class Odd(Exception):
        pass

    odd = f"{__name__}.test_retry_on_may_be_exception_classes.<locals>.Odd"
    assert from_keywords(retry_on=OSError).retry_on == ("builtins.OSError",)
    assert from_keywords(retry_on=(OSError, Odd)).retry_on == ("builtins.OSError", odd)
    assert from_keywords(retry_on=["OSError", Odd]).retry_on == ("OSError", odd)


def test_a_function_keeps_what_it_returns():
    assert from_keywords(keep=True, cache=True) == Options(
        keep_returned=True, cache=True, given=frozenset({"keep", "cache"})
    )
    assert from_keywords(keep=None).merge(from_keywords(keep=True)).keep_returned is False


def test_none_as_a_keyword_takes_a_default_back():
    base = from_keywords(timeout="1h", memory="8G..64G", cpu=4)
    again = from_keywords(timeout=None, memory=None).merge(base)
    assert (again.timeout, again.memory, again.memory_high, again.cpu) == (None, None, None, 4.0)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"cpus": 8}, "'cpus' is not a keyword of remote; did you mean cpu=?"),
        (
            {"retry_no": OSError},
            "'retry_no' is not a keyword of remote; did you mean retry_on= or retry_delay=?",
        ),
        (
            {"sparkle": 1},
            (
                "'sparkle' is not a keyword of remote; it has cpu, memory, gpu, disk, on, spot, instance, "
                "retries, retry_on, retry_delay, timeout, keep, cache, max_cost, name, quiet"
            ),
        ),
        ({"bg": "r"}, "bg= is for %%remote cells only; call .submit(...) on the function"),
        ({"memory": 32}, "memory: 32 has no unit: 32 what? 32G or 32GiB"),
        ({"cpu": True}, "cpu: True is not a number > 0, at least 0.1; e.g. 8 or 0.5"),
        ({"quiet": 1}, "quiet: 1 is neither True nor False; e.g. quiet=True"),
        ({"keep": "x"}, "keep: 'x' is neither True nor False; e.g. keep=True"),
        ({"name": 3}, 'name: 3 is not one line of 1 to 200 characters; e.g. "my run"'),
        ({"retry_on": ()}, "retry_on: a value of type tuple names no exception; e.g. OSError"),
        (
            {"retry_on": [OSError, int]},
            "retry_on: a value of type type names no exception; e.g. OSError,TimeoutError",
        ),
        (
            {"on": "ec3"},
            "on: 'ec3' is not a layer here; did you mean ec2? layers: ec2, fargate, local",
        ),
    ],
)
def test_bad_keywords_are_refused(keywords, message):
    with pytest.raises(AskError) as caught:
        from_keywords(LAYERS, **keywords)
    assert str(caught.value) == message


def test_defaults_fill_in_what_was_not_given():
    defaults = parse_line("--cpu 4 --memory 8G..64G --retry-on OSError")
    found = parse_line("--cpu 1 --timeout 90").merge(defaults)
    assert found == parse_line("--cpu 1 --timeout 90 --memory 8G..64G --retry-on OSError")


def test_a_given_option_wins_over_a_default_as_a_whole():
    found = parse_line("--memory 2G --gpu 1").merge(parse_line("--memory 8G..64G --gpu L4"))
    assert (found.memory, found.memory_high, found.gpu_name) == (2 * 10**9, None, "")


def test_what_belongs_to_one_cell_is_no_default_for_all():
    command = "%compute defaults"
    assert parse_line("--cpu 4", allowed=DEFAULTABLE, command=command).cpu == 4.0
    with pytest.raises(AskError) as caught:
        parse_line("--bg run", allowed=DEFAULTABLE, command=command)
    message = f"'--bg' is not an option of {command}; {command} --help lists them"
    assert str(caught.value) == message
    assert "--bg" not in help_text(command, DEFAULTABLE)
