"""The names found in compiled code are all that it needs, checked against running it."""

from __future__ import annotations

import dis
import inspect
import json
import pdb  # noqa: T100 - analysed, never entered
from types import CodeType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.notebook.cells import analyse
from jupyter_compute.notebook.scopes import names_of


def by_dis(code: CodeType) -> set[str]:
    reads = {
        i.argval
        for i in dis.get_instructions(code)
        if i.opname in {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
    }
    return reads.union(*(by_dis(const) for const in code.co_consts if isinstance(const, CodeType)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", [inspect, json.decoder, pdb, st, pytest], ids=lambda m: m.__name__
)
def test_names_agree_with_dis(module):
    code = compile(inspect.getsource(module), module.__name__, "exec")
    own = {name for name in by_dis(code) if not (name.startswith("__") and name.endswith("__"))}
    assert names_of(code).reads >= own
    assert names_of(code).reads <= by_dis(code)


def test_more_than_256_names_are_told_apart():
    source = "\n".join(f"a{n} = b{n}" for n in range(700))
    names = names_of(compile(source, "<names>", "exec"))
    assert names.reads == {f"b{n}" for n in range(700)}
    assert names.writes == {f"a{n}" for n in range(700)}


NAMES = st.sampled_from("abcde")
VALUES = st.one_of(
    NAMES,
    st.integers(0, 3).map(str),
    st.tuples(NAMES, NAMES).map(lambda pair: f"{pair[0]} + {pair[1]}"),
    NAMES.map(lambda name: f"sum([{name} for {name} in range(3)])"),
    st.tuples(NAMES, NAMES).map(lambda pair: f"(lambda: {pair[0]} + ({pair[1]} := 1))()"),
    NAMES.map(lambda name: f"({name} := 7)"),
    NAMES.map(lambda name: f"eval('{name} + 1')"),
)
SIMPLE = st.one_of(
    st.tuples(NAMES, VALUES).map(lambda p: f"{p[0]} = {p[1]}"),
    st.tuples(NAMES, VALUES).map(lambda p: f"{p[0]} += {p[1]}"),
    st.tuples(NAMES, NAMES, VALUES).map(lambda p: f"{p[0]}, {p[1]} = {p[2]}, {p[0]}"),
    NAMES.map(lambda name: f"del {name}"),
    VALUES,
)


def indented(body: list[str]) -> str:
    return "\n".join("    " + line for text in body for line in text.splitlines())


def blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = st.lists(inner, min_size=1, max_size=3).map(indented)
    return st.one_of(
        st.tuples(VALUES, body).map(lambda p: f"if {p[0]}:\n{p[1]}"),
        st.tuples(NAMES, body).map(lambda p: f"for {p[0]} in range(2):\n{p[1]}"),
        st.tuples(body, body).map(lambda p: f"try:\n{p[0]}\nexcept NameError as e:\n{p[1]}"),
        st.tuples(NAMES, NAMES, body).map(
            lambda p: f"def f():\n    global {p[0]}, {p[1]}\n{p[2]}\nf()"
        ),
        st.tuples(body, NAMES).map(lambda p: f"class C:\n{p[0]}\n{p[1]}"),
    )


PROGRAMS = st.lists(st.recursive(SIMPLE, blocks, max_leaves=6), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(PROGRAMS, st.sets(NAMES))
def test_a_program_does_the_same_with_only_what_it_reads(lines, existing):
    source = "\n".join(lines)
    before = dict.fromkeys(existing, 10)
    try:
        cell = analyse(source, namespace=before)
    except SyntaxError:
        return
    everything, sent = dict(before), dict.fromkeys(cell.inputs(before), 10)
    assert run(source, everything) == run(source, sent)
    # Applied to the notebook, what the cell left behind is what running it there leaves.
    gone = set(cell.inputs(before)) - sent.keys()
    applied = {name: value for name, value in (before | sent).items() if name not in gone}
    assert {n: repr(v) for n, v in applied.items()} == {n: repr(v) for n, v in everything.items()}
    assert cell.dynamic or {n for n in sent if sent[n] != before.get(n)} <= cell.writes
    assert gone <= cell.deletes


def run(source: str, namespace: dict[str, object]) -> str:
    """Run a program in place; return how it failed."""
    failure = ""
    try:
        exec(compile(source, "<program>", "exec"), namespace)
    except (NameError, TypeError, ValueError) as error:
        failure = f"{type(error).__name__}: {error}"
    for name in ("__builtins__", "f", "C"):
        namespace.pop(name, None)
    return failure
