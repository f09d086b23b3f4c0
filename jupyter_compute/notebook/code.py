"""What identifies a piece of code, however it is laid out.

Two texts have one key if they mean the same to Python: comments, blank lines, indentation
and the place in the notebook do not count. The history of a cell (its advice, its
estimates) and the cache are found by it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from types import CodeType
from typing import Any

from ..blobs import hash_of

__all__ = ["key_of_cell", "key_of_function", "parts_of_code"]


def key_of_cell(code: str) -> str:
    """Return the key of a cell's Python code, 32 hexadecimal digits."""
    return hash_of(ast.dump(ast.parse(code)).encode("utf-8", "backslashreplace"))


def key_of_function(function: Callable[..., Any]) -> str:
    """Return the key of a function's code, 32 hexadecimal digits.

    What it closes over and the globals that it reads are its inputs, not its code. A
    callable without Python code of its own is known by its name.
    """
    plain = getattr(function, "__func__", function)
    while isinstance(plain, functools.partial):
        plain = plain.func
    plain = getattr(plain, "__wrapped__", plain)
    code = getattr(plain, "__code__", None)
    name = f"{getattr(plain, '__module__', '')}.{getattr(plain, '__qualname__', repr(type(plain)))}"
    parts = [name, repr(parts_of_code(code)) if isinstance(code, CodeType) else ""]
    return hash_of("\n".join(parts).encode("utf-8", "backslashreplace"))


def parts_of_code(code: CodeType) -> tuple[object, ...]:
    """Return what a code object does, without where it stands."""
    constants = tuple(
        parts_of_code(value) if isinstance(value, CodeType) else _constant(value)
        for value in code.co_consts
    )
    return (
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_exceptiontable,
        code.co_qualname,
    )


def _constant(value: object) -> tuple[str, object]:
    """Return a constant with its type, as ``1 == 1.0`` and the order of a set varies."""
    if isinstance(value, frozenset):
        return "frozenset", sorted(map(repr, value))
    if isinstance(value, tuple):
        return "tuple", tuple(map(_constant, value))
    return type(value).__name__, repr(value)
