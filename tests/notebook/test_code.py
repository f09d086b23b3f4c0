"""What identifies code: its meaning, not its layout."""

from __future__ import annotations

import functools

from jupyter_compute.notebook.code import key_of_cell, key_of_function


def test_layout_and_comments_do_not_count() -> None:
    assert key_of_cell("x = 1\ny = x + 1\n") == key_of_cell("\n\nx=1 # one\n\ny = (x +\n  1)\n")


def test_every_change_of_meaning_counts() -> None:
    texts = ["x = 1", "x = 2", "x = 1.0", "x = True", "y = 1", "x = '1'", "x = 1; x"]
    assert len({key_of_cell(text) for text in texts}) == len(texts)


def _function(text: str) -> object:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(text, f"<{hash(text)}>", "exec"), names)
    return names["f"]


def test_a_function_is_its_code_wherever_it_stands() -> None:
    one = key_of_function(_function("def f(a):\n    return a + 1\n"))  # type: ignore[arg-type]
    two = key_of_function(_function("\n\n# moved\ndef f(a):\n\n    return (a + 1)  # same\n"))  # type: ignore[arg-type]
    assert one == two


def test_a_function_with_other_constants_or_inner_functions_differs() -> None:
    texts = [
        "def f(a): return a + 1",
        "def f(a): return a + 1.0",
        "def f(a): return a + 2",
        "def f(a): return a - 1",
        "def f(b, a): return a + 1",
        "def f(a):\n def g(): return 1\n return a + g()",
        "def f(a):\n def g(): return 2\n return a + g()",
        "def f(a): return a in {1, 2}",
        "def f(a): return a in {1, 3}",
        "async def f(a): return a + 1",
    ]
    keys = [key_of_function(_function(text)) for text in texts]  # type: ignore[arg-type]
    assert len(set(keys)) == len(texts)


def test_partials_and_builtins_have_keys() -> None:
    def f(a: int) -> int:
        return a

    assert key_of_function(functools.partial(f, 1)) == key_of_function(f)
    assert key_of_function(len) != key_of_function(max)
