"""The rows of the bad-input list that a magic's line decides alone, and what it accepts.

The number in a test's id is the row's number in that list.
"""

from __future__ import annotations

import builtins
import dataclasses
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from jupyter_compute.errors import AskError
from jupyter_compute.notebook.option_table import OPTIONS
from jupyter_compute.notebook.options import Options, help_text, parse_line

LAYERS = ("local", "ec2", "fargate")
NAMESPACE = {"n": 8, "size": "8G"}

SIZE = "is not a size; use 32G (decimal) or 32GiB"
LEAST = "is below the least, 64 MiB; e.g. 8G"
FINITE = "is not a finite size; use 32G (decimal) or 32GiB"
POINT = "is not a size; write it with one decimal point, e.g. 32.5G"
CPU = "is not a number > 0, at least 0.1; e.g. 8 or 0.5"
BEYOND = (
    "is more than any known machine has; the largest is u7in-32tb.224xlarge (896 CPUs, 32 TiB); "
    "e.g. "
)
TIME = "is not a time > 0 and at most 30 days; e.g. 90 (seconds), 90s, 10m or 1h30m"
COUNT = "is not a whole number from 0 to 100; e.g. 3"
UNKNOWN = "is not an option of %%remote"
HYPHENS = "does not begin with two hyphens, as options do"
UNDEFINED = "is not defined; define it in an earlier cell, e.g. n = 8 for --cpu {n}"
CLOSE = 'quote not closed; close it, e.g. --name "my run"'

REFUSED = [
    (1, "--memory 32 Gigabananas", f"--memory: '32 Gigabananas' {SIZE}"),
    (1, "--memory 32 Gigabananas --cpu 2", f"--memory: '32 Gigabananas' {SIZE}"),
    (
        1,
        "--memory 32 G",
        "--memory: '32 G' is 2 words, and a value is one; quote it: --memory '32 G'",
    ),
    (1, "--cpu 2 8G", f"--cpu: '2 8G' {CPU}"),
    (
        1,
        "--name my run",
        "--name: 'my run' is 2 words, and a value is one; quote it: --name 'my run'",
    ),
    (1, "8 --cpu 2", "'8' belongs to no option; they begin with --; e.g. --cpu 2"),
    (1, '"--cpu" 2', "'--cpu' belongs to no option; they begin with --; e.g. --cpu 2"),
    (1, "--quiet yes", "--quiet takes no value, but 'yes' follows; e.g. --quiet"),
    (1, "--cpu 2 '--quiet'", f"--cpu: '2 --quiet' {CPU}"),
    (1, "--quiet=", "--quiet takes no value, but '' follows; e.g. --quiet"),
    (2, "--memory 32", "--memory: '32' has no unit: 32 what? 32G or 32GiB"),
    (2, "--memory 8..64G", "--memory: '8' has no unit: 8 what? 8G or 8GiB"),
    (2, "--memory 8000000000", "--memory: '8000000000' has no unit; if these are bytes, use 8G"),
    (3, "--memory ''", "--memory needs a value, e.g. 8G"),
    (3, "--memory=", "--memory needs a value, e.g. 8G"),
    (3, "--memory ' '", "--memory needs a value, e.g. 8G"),
    (3, "--cpu 2 --memory", "--memory needs a value, e.g. 8G"),
    (3, "--memory --cpu 2", "--memory needs a value, e.g. 8G"),
    (3, "--memory # 8G", "--memory needs a value, e.g. 8G"),
    (3, "--memory G", "--memory: 'G' is a unit without a number: it needs a value, e.g. 8G"),
    (4, "--memory 0", f"--memory: '0' {LEAST}"),
    (4, "--memory -1G", f"--memory: '-1G' {LEAST}"),
    (4, "--memory 1e-9G", f"--memory: '1e-9G' {LEAST}"),
    (
        4,
        "--memory 5m",
        "--memory: '5m' is below the least, 64 MiB; m is read as M, 10⁶ bytes; e.g. 512M or 5G",
    ),
    (5, "--memory 1e400", f"--memory: '1e400' {FINITE}"),
    (5, "--memory 1e400G", f"--memory: '1e400G' {FINITE}"),
    (5, "--memory nan", f"--memory: 'nan' {FINITE}"),
    (5, "--memory -inf", f"--memory: '-inf' {FINITE}"),
    (5, f"--memory {'9' * 30}G", f"--memory: '{'9' * 30}G' {BEYOND}32TiB or less"),
    (6, "--memory 32,5G", f"--memory: '32,5G' {POINT}"),
    (6, "--memory 0x10", f"--memory: '0x10' {POINT}"),
    (6, "--memory 1.5.2G", f"--memory: '1.5.2G' {POINT}"),
    (
        7,
        "--memory \u0663\u0662G",
        (
            "--memory: '\u0663\u0662G' is not a size (it holds U+0663 ARABIC-INDIC DIGIT THREE and "
            "U+0662 ARABIC-INDIC DIGIT TWO); use 32G (decimal) or 32GiB"
        ),
    ),
    (
        7,
        "--memory \uff13\uff12G",
        (
            "--memory: '\uff13\uff12G' is not a size (it holds U+FF13 FULLWIDTH DIGIT THREE and "
            "U+FF12 FULLWIDTH DIGIT TWO); use 32G (decimal) or 32GiB"
        ),
    ),
    (
        7,
        "--memory 3\u200b2G",
        (
            r"--memory: '3\u200b2G' is not a size (it holds U+200B ZERO WIDTH SPACE); "
            "use 32G (decimal) or 32GiB"
        ),
    ),
    (7, "\u2014cpu 2", f"'\u2014cpu' {HYPHENS} (it holds U+2014 EM DASH); did you mean --cpu?"),
    (
        7,
        "--memory 8G \u2013\u2013cpu 2",
        f"'\u2013\u2013cpu' {HYPHENS} (it holds U+2013 EN DASH); did you mean --cpu?",
    ),
    (
        7,
        "--cpu\u200b 2",
        rf"'--cpu\u200b' {UNKNOWN} (it holds U+200B ZERO WIDTH SPACE); did you mean --cpu?",
    ),
    (
        7,
        "--name \u201cmy run\u201d",
        (
            "--name: '\u201cmy run\u201d' is 2 words, and a value is one (it holds U+201C LEFT DOUBLE "
            "QUOTATION MARK and U+201D RIGHT DOUBLE QUOTATION MARK); quote it: --name 'my run'"
        ),
    ),
    *(
        (8, f"--cpu {x}", f"--cpu: '{x}' {CPU}")
        for x in ["0", "-1", "nan", "inf", "-inf", "1e309", "eight", "1_0"]
    ),
    (
        8,
        "--cpu \u0668",
        (
            "--cpu: '\u0668' is not a number > 0, at least 0.1 (it holds U+0668 ARABIC-INDIC DIGIT "
            "EIGHT); e.g. 8 or 0.5"
        ),
    ),
    (9, "--cpu 10000", f"--cpu: '10000' {BEYOND}896 or less"),
    (12, "--cpu 2 --cpu 4", "--cpu is given twice, '2' and '4'; e.g. --cpu 2"),
    (12, "--cpu=2 --memory 8G --cpu 2", "--cpu is given twice, '2' and '2'; e.g. --cpu 2"),
    (12, "--quiet --quiet", "--quiet is given twice; e.g. --quiet"),
    (13, "--cpus 8", f"'--cpus' {UNKNOWN}; did you mean --cpu?"),
    (13, "--mem 8G", f"'--mem' {UNKNOWN}; did you mean --memory?"),
    (13, "--mem=8G", f"'--mem' {UNKNOWN}; did you mean --memory?"),
    (13, "--c 8", f"'--c' {UNKNOWN}; did you mean --cpu or --catch or --cache?"),
    (13, "--retr 2", f"'--retr' {UNKNOWN}; did you mean --retries or --retry-on or --retry-delay?"),
    (13, "--Memory 8G", f"'--Memory' {UNKNOWN}; did you mean --memory?"),
    (13, "--memroy 8G", f"'--memroy' {UNKNOWN}; did you mean --memory?"),
    (13, "--retry_on OSError", f"'--retry_on' {UNKNOWN}; did you mean --retry-on?"),
    (13, "-cpu 8", f"'-cpu' {HYPHENS}; did you mean --cpu?"),
    (13, "---cpu 8", f"'---cpu' {UNKNOWN}; did you mean --cpu?"),
    (13, "--cores 8", f"'--cores' {UNKNOWN}; did you mean --cpu?"),
    (13, "--sparkle", f"'--sparkle' {UNKNOWN}; %%remote --help lists them"),
    (14, '--name "my run', f"'\"my run': {CLOSE}"),
    (14, "--cpu 2 --name 'my run", f'"\'my run": {CLOSE}'),
    (14, "--name don't --quiet", f'"don\'t --quiet": {CLOSE}'),
    (16, "-h", f"'-h' {HYPHENS}; did you mean --help?"),
    (17, "--cpu {undefined}", f"'{{undefined}}': name 'undefined' {UNDEFINED}"),
    (17, "--cpu $undefined", f"'$undefined': name 'undefined' {UNDEFINED}"),
    (17, "--cpu $undefined.cpu", f"'$undefined.cpu': name 'undefined' {UNDEFINED}"),
    (17, "--cpu {undefined + n}", f"'{{undefined + n}}': name 'undefined' {UNDEFINED}"),
    (17, "--cpu {n} --memory {undefined}", f"'{{undefined}}': name 'undefined' {UNDEFINED}"),
    (17, '--name "for {undefined}"', f"'{{undefined}}': name 'undefined' {UNDEFINED}"),
    (17, "--cpu {n} # {undefined}", f"'{{undefined}}': name 'undefined' {UNDEFINED}"),
    (
        17,
        "--cpu {1/0}",
        (
            "'{1/0}' cannot be expanded: the expression fails, or a brace on the line is open; "
            "e.g. n = 8 in an earlier cell for --cpu {n}"
        ),
    ),
    (
        17,
        "--cpu {len(n)}",
        (
            "'{len(n)}' cannot be expanded: the expression fails, or a brace on the line is open; "
            "e.g. n = 8 in an earlier cell for --cpu {n}"
        ),
    ),
    (
        17,
        "--cpu {n +}",
        (
            "'{n +}' cannot be expanded: the expression fails, or a brace on the line is open; "
            "e.g. n = 8 in an earlier cell for --cpu {n}"
        ),
    ),
    (
        17,
        "--cpu {n} --name {",
        (
            "'{n}' cannot be expanded: the expression fails, or a brace on the line is open; "
            "e.g. n = 8 in an earlier cell for --cpu {n}"
        ),
    ),
    *((48, f"--timeout {x}", f"--timeout: '{x}' {TIME}") for x in ["0", "-5", "1y", "nan", "31d"]),
    *((48, f"--retries {x}", f"--retries: '{x}' {COUNT}") for x in ["-1", "1000", "1.5", "nan"]),
    (48, "--retry-delay 0", f"--retry-delay: '0' {TIME}"),
    (48, "--retry-delay 2m", "--retry-delay: '2m' is more than the longest pause, 60 s; e.g. 5s"),
    (
        49,
        "--on ec3",
        "--on: 'ec3' is not a layer here; did you mean ec2? layers: ec2, fargate, local",
    ),
    (49, "--on zzz", "--on: 'zzz' is not a layer here; layers: ec2, fargate, local"),
    (49, "--provider ec2", f"'--provider' {UNKNOWN}; did you mean --on?"),
    (49, "--region us-east-1", f"'--region' {UNKNOWN}; %%remote --help lists them"),
    (
        49,
        "--instance m99/huge",
        "--instance: 'm99/huge' is not a list of machine types; e.g. r7i.2xlarge,r7a.2xlarge",
    ),
    (49, "--spot sometimes", "--spot: 'sometimes' is not auto, always or never; e.g. never"),
    (
        49,
        "--gpu 9",
        (
            "--gpu: '9' is more than any known machine has; the largest is p6-b300.48xlarge (8 GPUs); "
            "e.g. 8 or less"
        ),
    ),
]

ACCEPTED = [
    (7, "--cpu\u00a02\u00a0--memory\u00a08G", {"cpu": 2.0, "memory": 8 * 10**9}),
    (10, "--cpu 2.5", {"cpu": 2.5}),
    (10, "--cpu 0.25", {"cpu": 0.25}),
    (15, "--cpu 2 # twice as fast", {"cpu": 2.0}),
    (15, "# --cpu 2", {}),
    (15, "--cpu 2 # don't \"--cpu 4", {"cpu": 2.0}),
    (15, "--name 'run #3' --quiet", {"name": "run #3", "quiet": True}),
    (15, "--cpu 2 # for {undefined}", {"cpu": 2.0}),
    (17, "--cpu {n} --memory $size", {"cpu": 8.0, "memory": 8 * 10**9}),
    (17, "--name 'costs $undefined'", {"name": "costs $undefined"}),
]


def as_ipython_expands(line: str) -> str:
    """Return what a cell magic receives for ``line`` in a notebook that has `NAMESPACE`."""
    shell = SimpleNamespace(user_ns=NAMESPACE)
    return InteractiveShell.var_expand(shell, line)


def refusal(line: str, **options) -> str:
    with pytest.raises(AskError) as caught:
        parse_line(line, LAYERS, NAMESPACE, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"), [pytest.param(*row[1:], id=f"row{row[0]}-{row[1]}") for row in REFUSED]
)
def test_a_bad_line_is_refused_with_the_input_the_rule_and_an_example(line, message):
    found = refusal(as_ipython_expands(line))
    assert found == message
    assert found.isprintable()


@pytest.mark.parametrize(
    ("line", "fields"), [pytest.param(*row[1:], id=f"row{row[0]}-{row[1]}") for row in ACCEPTED]
)
def test_a_line_that_only_looks_bad_is_accepted(line, fields):
    found = parse_line(as_ipython_expands(line), LAYERS, NAMESPACE)
    assert dataclasses.replace(found, given=frozenset()) == Options(**fields)
    assert found.given == set(fields)


@pytest.mark.parametrize("line", ["--help", "--cpu eight --help", "--sparkle --help # ?"])
def test_row16_help_is_shown_whatever_else_is_on_the_line(line):
    assert parse_line(line) == Options(help=True, given=frozenset({"help"}))


def test_row16_help_shows_every_option_with_its_default():
    text = help_text()
    for option in OPTIONS:
        assert f"  --{option.name} {option.value}".rstrip() in text
        assert all(word in text for word in option.default.split())
    assert max(map(len, text.splitlines())) <= 100


def test_row16_help_can_be_asked_for_as_a_value():
    assert parse_line('--name "--help"').name == "--help"


def test_without_the_namespace_the_first_name_left_is_the_undefined_one():
    with pytest.raises(AskError, match="name 'undefined' is not defined"):
        parse_line("--cpu {undefined}")


def test_every_option_is_read():
    line = (
        "--cpu 2.5 --memory 8G..64G --gpu L4:2 --disk 20G --on ec2 --retries 3 "
        "--spot never --instance r7i.2xlarge,r7a.2xlarge "
        "--retry-on OSError,a.Odd --retry-delay 5s --timeout 1h30m --catch err --in a,b --out x,y "
        "--keep z,w --cache --max-cost 2.50 --keep-partial --bg job --plan --name 'my run' --quiet"
    )
    expected = Options(
        cpu=2.5, memory=8 * 10**9, memory_high=64 * 10**9, gpu=2, gpu_name="L4", disk=20 * 10**9,
        on="ec2", spot="never", instances=("r7i.2xlarge", "r7a.2xlarge"), retries=3, retry_on=("OSError", "a.Odd"), retry_delay=5.0, timeout=5400.0,
        catch="err", inputs=("a", "b"), outputs=("x", "y"), keep_partial=True, max_cost=2.5, bg="job", plan=True,
        keep=("z", "w"), cache=True,
        name="my run", quiet=True,
        given=frozenset(option.name for option in OPTIONS) - {"help"},
    )  # fmt: skip
    assert parse_line(line, LAYERS) == expected


def test_a_name_cannot_both_stay_and_come_back():
    with pytest.raises(AskError) as caught:
        parse_line("--out x,y --keep y,z")
    message = "--keep: 'y' is in --out too, and a value stays or comes back; name it once"
    assert str(caught.value) == message


def test_an_empty_line_gives_the_defaults():
    assert parse_line("") == parse_line("  \r\n") == Options()


def test_an_option_may_have_an_equals_sign():
    assert parse_line("--cpu=2 --name='a = b' --in=a,b").given == {"cpu", "name", "in"}
    assert parse_line("--name=a=b").name == "a=b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--bg 2x", "--bg: '2x' is not a Python name; e.g. result"),
        ("--bg a,b", "--bg: 'a,b' is not a Python name; e.g. result"),
        ("--catch class", "--catch: 'class' is not a Python name; e.g. result"),
        ("--in a,,b", "--in: 'a,,b' is not a list of Python names; e.g. a,b"),
        ("--in a, b", "--in: 'a, b' is 2 words, and a value is one; quote it: --in 'a, b'"),
        ("--out x.y", "--out: 'x.y' is not a list of Python names; e.g. a,b"),
        ("--retry-on 5xx", "--retry-on: '5xx' names no exception; e.g. OSError,TimeoutError"),
        (
            "--name 'a\u202eb'",
            (
                r"--name: 'a\u202eb' is not one line of 1 to 200 characters "
                '(it holds U+202E RIGHT-TO-LEFT OVERRIDE); e.g. "my run"'
            ),
        ),
    ],
)
def test_names_are_checked(line, message):
    assert refusal(line) == message


def test_names_are_normalised_as_python_normalises_them():
    found = parse_line("--in \ufb01,fi,x --bg \ufb01 --catch \u212b")
    assert found.inputs == ("fi", "x")
    assert found.bg == "fi"
    assert found.catch == "\u00c5"


def test_a_label_has_at_most_200_characters():
    assert parse_line(f"--name {'x' * 200}").name == "x" * 200
    rule = "is not one line of 1 to 200 characters"
    assert refusal(f"--name {'x' * 201}") == f"--name: '{'x' * 59}…' {rule}; e.g. \"my run\""


def test_a_label_may_hold_any_visible_text():
    assert parse_line("--name 'Größe \U0001f680 日本'").name == "Größe \U0001f680 日本"


def test_the_table_sets_every_field_of_options_once():
    fields = [field for option in OPTIONS for field in option.fields]
    assert sorted([*fields, "given"]) == sorted(f.name for f in dataclasses.fields(Options))


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.example], ids=lambda o: o.name)
def test_the_examples_in_messages_work(option):
    found = parse_line(f"--{option.name} {option.example}", LAYERS)
    assert found.given == {option.name}


words = st.sampled_from([
    *(f"--{option.name}" for option in OPTIONS), "--", "-", "=", "'", '"', "#", "{n}", "{", "$x",
    "8G", "2", "a,b", "..", "\u2014", "\u00a0",
])  # fmt: skip


@given(st.lists(words | st.text(max_size=8), max_size=6).map(" ".join) | st.text(max_size=40))
def test_any_line_is_read_or_refused_in_one_line(line):
    try:
        found = parse_line(line, LAYERS, dir(builtins))
    except AskError as refused:
        found = str(refused)
    assert isinstance(found, Options) or found.isprintable()
