"""What can run remotely, of all that can be called."""

from __future__ import annotations

import functools
import inspect
from typing import Any

__all__ = ["is_coroutine", "unfit"]


def unfit(function: Any, decorator: str = "remote") -> str:
    """Return why it cannot run remotely, as its decorator says it; empty if it can."""
    plain = _innermost(function)
    name = getattr(plain, "__qualname__", type(plain).__qualname__)
    if isinstance(function, type) or isinstance(getattr(function, "__func__", None), type):
        return f"@{decorator} works on functions, and {name} is a class; decorate its methods"
    if any(map(_is_generator, (plain, _call_of(plain)))):
        return (
            f"@{decorator} cannot run {name}: a generator would have to stay remote; return a list"
        )
    if not callable(plain):
        return f"@{decorator} works on functions, and this is of type {type(plain).__name__}"
    return ""


def is_coroutine(function: Any) -> bool:
    """Tell whether a call has to be awaited."""
    plain = _innermost(function)
    return any(map(inspect.iscoroutinefunction, (plain, _call_of(plain))))


def _is_generator(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _call_of(value: object) -> object:
    """Return what a call of an object runs, if its class says so in Python."""
    return inspect.getattr_static(type(value), "__call__", None)


def _innermost(function: Any) -> Any:
    """Return what a method, a partial, a cache or a remote function calls in the end."""
    while not inspect.isfunction(function):
        inside: Any = getattr(function, "__func__", None) or getattr(function, "__wrapped__", None)
        if isinstance(function, functools.partial):
            inside = function.func
        if inside is None:
            break
        function = inside
    return function
