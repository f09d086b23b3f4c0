"""The key of a run: equal only if the runs are."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.notebook import payload
from jupyter_compute.notebook.cachekey import environment_key, key_of_run
from jupyter_compute.notebook.code import key_of_cell
from jupyter_compute.notebook.options import Options

_AROUND = {"cwd": "/", "umask": 0o22, "path": [], "variables": {}}


def _key(job: dict[str, Any], namespace: dict[str, Any] | None = None, code: str = "") -> str:
    return key_of_run(Options(), code, job, {} if namespace is None else namespace, (), _AROUND)


def _key_of_code(text: str, filename: str) -> str:
    """Return the key of a call of the function `f` that the text defines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, filename, "exec"), namespace)
    return _key({"function": namespace["f"]}, namespace)


_atoms = st.sampled_from(["a", "b", "1", "1.0", "True", "'1'", "-0.0", "0.0", "(1, 2)", "None"])
_expressions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds("({} == {})".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("(lambda q={}: [q, {}])({})".format, inner, inner, inner),
        st.builds("[{} for a in ({}, {})]".format, inner, inner, inner),
    ),
    max_leaves=5,
)
_statements = st.one_of(
    st.builds("b = {}".format, _expressions),
    st.builds("if {}:\n    b = {}".format, _expressions, _expressions),
    st.builds("try:\n    b = {}\nexcept {}:\n    b = 7".format, _expressions,
              st.sampled_from(["KeyError", "Exception", "ZeroDivisionError"])),
    st.builds("def g(a, /, b={}):\n    return b".format, _expressions),
    st.builds("class C:\n    b = {}\n    def m(self):\n        return {}".format, _expressions,
              _expressions),
)  # fmt: skip
_bodies = st.lists(_statements, min_size=1, max_size=3)


def _function(body: list[str], *, airy: bool) -> str:
    """Return the text of a function, written densely or with comments and blank lines."""
    lines = ["def f(a=1, b=2):"]
    for statement in body:
        lines += ["", "    # what follows"] * airy
        lines += [f"    {line}{'  # so' * airy}" for line in statement.splitlines()]
    lines.append("    return a, b, locals()")
    text = "\n".join(lines)
    return f"# a function\n\n\n{text}\n" if airy else text


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(_bodies)
def test_layout_does_not_matter(body: list[str]) -> None:
    dense, airy = _function(body, airy=False), _function(body, airy=True)
    assert _key_of_code(dense, "<cell 1>") == _key_of_code(airy, "<cell 27>")
    assert key_of_cell(dense) == key_of_cell(airy)


def _bytecode(text: str) -> bytes:
    made = compile(text, "<cell>", "exec").co_consts
    return next(value.co_code for value in made if isinstance(value, CodeType))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(_bodies, _bodies)
def test_code_that_differs_has_another_key(one: list[str], other: list[str]) -> None:
    texts = [_function(body, airy=False) for body in (one, other)]
    trees = [ast.dump(ast.parse(text)) for text in texts]
    cells = [key_of_cell(text) for text in texts]
    assert (cells[0] == cells[1]) == (trees[0] == trees[1])
    functions = [_key_of_code(text, "<cell>") for text in texts]
    if trees[0] != trees[1] and functions[0] == functions[1]:
        # Python itself makes the same of both, e.g. of ``1 if True else 2`` and ``1``.
        assert _bytecode(texts[0]) == _bytecode(texts[1])
    if trees[0] == trees[1]:
        assert functions[0] == functions[1]


@pytest.mark.parametrize(
    ("part", "value", "counts"),
    [
        ("co_code", (lambda: 2 * 3).__code__.co_code, True),
        ("co_consts", (None, 3), True),
        ("co_exceptiontable", b"\x01\x02\x03\x04", True),
        ("co_flags", 0, True),
        ("co_names", ("other",), True),
        ("co_posonlyargcount", 1, True),
        ("co_qualname", "other", True),
        ("co_filename", "<cell 9>", False),
        ("co_firstlineno", 77, False),
        ("co_linetable", b"", False),
    ],
)
def test_each_part_of_code_counts_but_its_place(part: str, value: Any, counts: bool) -> None:
    def f(a: int) -> int:
        return abs(a) + 2

    keys = [_key({"code": code}) for code in (f.__code__, f.__code__.replace(**{part: value}))]
    assert (keys[0] != keys[1]) == counts


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(_values, _values)
def test_values_that_differ_have_another_key(one: Any, other: Any) -> None:
    assert _key({"x": one}) == _key({"x": one})
    if repr(one) != repr(other):
        assert _key({"x": one}) != _key({"x": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(50_000), np.zeros(50_001)),
        (np.zeros(50_000), np.zeros((100, 500))),
        (np.zeros(50_000), np.zeros(50_000, dtype="int64")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1, True),
        (0.0, -0.0),
        ([[1], [1]], [[1]] * 2),
    ],
)
def test_what_may_differ_does(one: Any, other: Any) -> None:
    assert _key({"x": one}) != _key({"x": other})


def test_one_number_in_a_large_array_counts() -> None:
    a = np.zeros(1_000_000)
    before = _key({"x": a})
    a[123_456] = 1e-300
    assert _key({"x": a}) != before


def test_classes_count_by_what_they_are() -> None:
    text = "import enum\nclass C:\n    n = {}\nclass E(enum.Enum):\n    A = {}\n"
    keys = []
    for numbers in ((1, 1), (1, 1), (2, 1), (1, 2)):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(text.format(*numbers), namespace)
        keys.append(_key({"values": [namespace["C"](), namespace["E"].A]}, namespace))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_code_of_a_cell_and_the_ask_count() -> None:
    assert _key({}, code="a") != _key({}, code="b")
    asks = [{}, {"cpu": 2.0}, {"memory": 10**9}, {"memory_high": 10**10}, {"gpu": 1}, {"on": "ec2"}]
    keys = {key_of_run(Options(**ask), "", {}, {}, (), _AROUND) for ask in asks}  # type: ignore[arg-type]
    assert len(keys) == len(asks)
    said = Options(quiet=True, name="n", retries=2, cache=True)
    assert key_of_run(said, "", {}, {}, (), _AROUND) in keys


def test_the_environment_counts(tmp_path: Path) -> None:
    around: dict[str, Any] = {**_AROUND, "cwd": str(tmp_path), "path": ["", "lib"]}
    keys = [environment_key(around)]

    def changed(**fields: Any) -> bool:
        keys.append(environment_key(around | fields))
        return len(set(keys)) == len(keys)

    assert changed(variables={"FLAVOUR": "sour"})
    assert changed(variables={"FLAVOUR": "sweet"})
    assert changed(path=["lib", ""])
    assert changed(umask=0)
    (tmp_path / "mine.py").touch()
    assert changed()
    (tmp_path / "lib" / "pack").mkdir(parents=True)
    assert not changed(), "no module yet"
    keys.pop()
    (tmp_path / "lib" / "pack" / "__init__.py").touch()
    assert changed()
    installed = tmp_path / "lib" / "sums-1.0.dist-info"
    installed.mkdir()
    assert changed()
    os.utime(installed, (1, 1))
    assert changed(), "installed again"
    assert not changed(variables={"JPY_PARENT_PID": "7", "TERM": "dumb", "SSH_TTY": "x"})


def test_this_very_environment_has_one_key() -> None:
    assert environment_key(payload.environment()) == environment_key(payload.environment())
