from __future__ import annotations

import math
import pickle
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute import ask
from jupyter_compute.errors import AskError

PARSERS = [
    ask.parse_cpu,
    ask.parse_memory,
    ask.parse_memory_range,
    ask.parse_time,
    ask.parse_count,
    ask.parse_gpu,
]

# Mostly what looks like an ask, so that the limits are met and not only the grammar.
nearly = st.from_regex(
    r"[-+]?[0-9]{0,20}([.,][0-9]{0,3})?(e-?[0-9]{1,4})?[ \u00a0]?([KMGTkmgt]?i?[Bb]?|h|min|d|:2)?"
    r"(\.\.[0-9]{1,3}[MG])?",
    fullmatch=True,
)
texts = st.text(max_size=40) | nearly
sizes = st.integers(ask.LEAST_MEMORY, ask.LARGEST_MEMORY)
round_sizes = st.builds(
    lambda n, base, power: n * base**power,
    st.integers(1, 4096),
    st.sampled_from([1000, 1024]),
    st.integers(2, 4),
).filter(lambda size: ask.LEAST_MEMORY <= size <= ask.LARGEST_MEMORY)
anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.decimals(),
    st.complex_numbers(), st.timedeltas(), st.lists(st.integers()), st.just(10**5000),
)  # fmt: skip


def refusal(parse, value, what="--it") -> str:
    with pytest.raises(AskError) as caught:
        parse(value, what)
    return str(caught.value)


@given(sizes | round_sizes)
def test_exact_memory_is_read_as_the_same_size(size):
    assert ask.parse_memory(ask.exact_memory(size)) == size


@given(sizes, sizes)
def test_an_exact_range_is_read_as_the_same_range(one, other):
    low, high = sorted([one, other])
    text = f"{ask.exact_memory(low)}..{ask.exact_memory(high)}"
    assert ask.parse_memory_range(text) == (low, high)


@pytest.mark.slow
@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(value=texts | anything)
def test_whatever_is_asked_is_a_positive_finite_value_or_refused_in_one_line(parse, value):
    try:
        found = parse(value, "--it")
    except AskError as refused:
        message = str(refused)
        assert message.startswith("--it: ")
        assert message.isprintable(), message
        assert len(message) < 400
        return
    limits = {
        ask.parse_cpu: (ask.LEAST_CPU, ask.LARGEST_CPU),
        ask.parse_memory: (ask.LEAST_MEMORY, ask.LARGEST_MEMORY),
        ask.parse_memory_range: (ask.LEAST_MEMORY, ask.LARGEST_MEMORY),
        ask.parse_time: (math.ulp(0.0), ask.LONGEST_TIME),
        ask.parse_count: (0, ask.MOST_RETRIES),
        ask.parse_gpu: (0, ask.LARGEST_GPU),
    }
    least, most = limits[parse]
    numbers = found if isinstance(found, tuple) else (found,)
    assert all(least <= n <= most for n in numbers if isinstance(n, int | float))
    assert isinstance(numbers[0], int | float)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("32G", 32 * 10**9),
        ("32GB", 32 * 10**9),
        ("32GiB", 32 * 2**30),
        ("32Gi", 32 * 2**30),
        ("32 GB", 32 * 10**9),
        ("512m", 512 * 10**6),
        ("100000K", 10**8),
        ("1.5T", 1.5e12),
        (".5TiB", 2**39),
        ("67108864B", ask.LEAST_MEMORY),
        ("32TiB", ask.LARGEST_MEMORY),
    ],
)
def test_memory_units(given, expected):
    assert ask.parse_memory(given) == expected


@pytest.mark.parametrize("text", ["67108863B", "35184372088833B", "0.06G"])
def test_memory_just_beyond_a_limit_is_refused(text):
    refusal(ask.parse_memory, text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (32, "--it: 32 has no unit: 32 what? 32G or 32GiB"),
        (2000, "--it: 2000 has no unit: 2000 what? 2000M or 2000MiB"),
        (2**35, "--it: 34359738368 has no unit; if these are bytes, use 32GiB"),
        (None, "--it: None is not a size; use 32G (decimal) or 32GiB"),
        (b"8G", "--it: a value of type bytes is not a size; use 32G (decimal) or 32GiB"),
    ],
)
def test_memory_as_a_python_value_needs_its_unit_too(given, message):
    assert refusal(ask.parse_memory, given) == message


@pytest.mark.parametrize(
    ("given", "expected"),
    [("8G", (8 * 10**9, None)), ("8G..64GiB", (8 * 10**9, 2**36)), ("8G .. 8G", (8 * 10**9,) * 2)],
)
def test_memory_ranges(given, expected):
    assert ask.parse_memory_range(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("64G..8G", "--it: '64G..8G' is a range from more to less; e.g. 8G..64G"),
        ("8G..", "--it: '8G..' is a range without both its ends; e.g. 8G..64G"),
        ("..8G", "--it: '..8G' is a range without both its ends; e.g. 8G..64G"),
        ("8..64G", "--it: '8' has no unit: 8 what? 8G or 8GiB"),
    ],
)
def test_bad_memory_ranges(given, message):
    assert refusal(ask.parse_memory_range, given) == message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1 h 30 min", 5400),
        ("1.5h", 5400),
        ("30d", 30 * 86400),
        (0.5, 0.5),
        (timedelta(minutes=3), 180),
    ],
)
def test_times(given, expected):
    assert ask.parse_time(given) == expected


@pytest.mark.parametrize("given", ["30d1s", "30m1h", "1h30", "5M", "2w", timedelta(0), True, None])
def test_bad_times(given):
    rule = "is not a time > 0 and at most 30 days; e.g. 90 (seconds), 90s, 10m or 1h30m"
    assert refusal(ask.parse_time, given).endswith(rule)


@pytest.mark.parametrize("given", [np.timedelta64(5, "m"), np.timedelta64(5, "ns"), np.True_])
def test_what_numpy_turns_into_a_number_of_another_meaning_is_refused(given):
    assert f"a value of type {type(given).__name__} is not" in refusal(ask.parse_time, given)


@pytest.mark.parametrize("given", [2, 2.0, "2", " 2 ", Decimal(2), Fraction(2), np.int64(2)])
def test_numbers_of_any_type(given):
    assert ask.parse_cpu(given) == 2.0
    assert ask.parse_count(given) == 2
    assert ask.parse_gpu(given) == (2, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0", (0, "")),
        ("L4", (1, "L4")),
        ("L4:2", (2, "L4")),
        ("RTX PRO 4500:8", (8, "RTX PRO 4500")),
    ],
)
def test_gpus(given, expected):
    assert ask.parse_gpu(given) == expected


@pytest.mark.parametrize("given", ["", "L4:0", "L4:", ":2", "-1", "1.5", "nan", "inf", True, None])
def test_bad_gpus(given):
    rule = "is not a whole number of GPUs or NAME[:N]; e.g. 1, L4 or L4:2"
    assert refusal(ask.parse_gpu, given).endswith(rule)


@pytest.mark.parametrize(
    ("parse", "given", "machine"),
    [
        (ask.parse_cpu, 897, "u7in-32tb.224xlarge (896 CPUs, 32 TiB)"),
        (ask.parse_memory, "33TiB", "u7in-32tb.224xlarge (896 CPUs, 32 TiB)"),
        (ask.parse_gpu, "H100:9", "p6-b300.48xlarge (8 GPUs)"),
    ],
)
def test_more_than_any_machine_has_is_refused_naming_the_largest(parse, given, machine):
    rule = f"is more than any known machine has; the largest is {machine}; e.g. "
    assert rule in refusal(parse, given)


def test_long_and_hostile_texts_are_shown_short():
    for text in ["9" * 100_000, "1h" + " " * 100_000 + "x", "e" * 100_000, "1" * 100_000 + "x"]:
        for parse in PARSERS:
            assert len(refusal(parse, text)) < 200


def test_an_ask_is_validated_from_what_the_user_gave():
    made = ask.make_ask(8, "8G..64G", "L4:2", "local")
    assert made == ask.Ask(8.0, 8 * 10**9, 64 * 10**9, 2, "L4", "local")
    assert str(made) == "8 cpu 8 GB..64 GB 2 L4 gpu"
    assert str(ask.make_ask(0.5)) == "0.5 cpu"
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"cpu": 0}, "cpu: 0 "),
        ({"memory": "5m"}, "memory: '5m' "),
        ({"gpu": "-"}, "gpu: '-' "),
        ({"layer": "local\n"}, "layer: 'local\\n' "),
    ],
)
def test_a_bad_ask_is_refused(given, start):
    with pytest.raises(AskError) as caught:
        ask.make_ask(**given)
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (9.8e9, "9.8 GB"),
        (9.96e9, "10 GB"),
        (32e9, "32 GB"),
        (999.6e6, "1 GB"),
        (2**45, "35 TB"),
        (5e15, "5000 TB"),
    ],
)
def test_memory_is_shown_in_the_unit_that_fits(size, text):
    assert ask.format_memory(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.012, "12 ms"),
        (0.4, "0.4 s"),
        (9.96, "10 s"),
        (41, "41 s"),
        (59.7, "1 min"),
        (65, "1 min 5 s"),
        (3599.6, "1 h"),
        (5400, "1 h 30 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_times_are_shown_in_their_leading_units(seconds, text):
    assert ask.format_time(seconds) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0"), (1e-9, "<$0.0001"), (0.0034, "$0.0034"), (0.21, "$0.21"), (1234.5, "$1,234.50")],
)
def test_money(usd, text):
    assert ask.format_money(usd) == text


@pytest.mark.parametrize(("cpu", "text"), [(8.0, "8"), (100, "100"), (2.5, "2.5"), (0.25, "0.25")])
def test_cpus_are_shown_without_needless_digits(cpu, text):
    assert ask.format_cpu(cpu) == text
