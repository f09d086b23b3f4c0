"""What an object consists of, as pickling it would see it, with a path to each part."""

from __future__ import annotations

import copyreg
import dis
import functools
import types
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

__all__ = ["Part", "parts_of"]

Part = tuple[str, Any]
"""The path to a part, and the part."""

_MOST = 1_000_000
"""Items of one container that are looked at."""

_ATOMS = frozenset({bool, bytearray, bytes, complex, float, int, range, str, type(None)})
"""Types that can always be pickled."""

_ATTRIBUTES = {
    classmethod: ("__func__",),
    functools.partial: ("func", "args", "keywords"),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    types.MethodType: ("__self__", "__func__"),
}
"""Types that are no more than these attributes."""

_SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType)
"""What classes have for their instances; it is made anew with the class."""

_LONGEST_KEY = 40


def parts_of(value: object, path: str) -> Iterator[Part]:
    """Yield the parts of `value` that may keep it from being pickled.

    Parameters
    ----------
    value : object
    path : str
        The path to `value`, which those of its parts go on from.

    Raises
    ------
    BaseException
        Whatever the object's own code raises when it is asked what it consists of.
    """
    for part in islice(_parts(value, path), _MOST):
        if type(part[1]) not in _ATOMS:
            yield part


def _parts(value: Any, path: str) -> Iterable[Part]:
    # isinstance would ask the object, which may lie or raise.
    kind = type(value)
    if kind is dict:
        return _items(value.items(), path)
    if kind is list or issubclass(kind, tuple):
        return _enumerated(value, path)
    if kind in (set, frozenset):
        return ((f"{path}.<item>", item) for item in value)
    if kind is types.FunctionType:
        return _of_function(value, path)
    if kind in _ATTRIBUTES:
        return [(f"{path}.{name}", getattr(value, name)) for name in _ATTRIBUTES[kind]]
    if issubclass(kind, type) or kind is types.ModuleType:
        return _of_scope(value, path)
    if kind.__module__.partition(".")[0] in ("numpy", "pandas"):
        return _of_data(value, path)
    return _of_reduced(value, path)


def _items(items: Iterable[tuple[Any, Any]], path: str) -> Iterator[Part]:
    for key, part in items:
        step = _key(key)
        yield f"{path}.<key {step}>", key
        yield f"{path}[{step}]", part


def _enumerated(items: Iterable[Any], path: str) -> Iterator[Part]:
    return ((f"{path}[{number}]", part) for number, part in enumerate(items))


def _key(key: object) -> str:
    if type(key) not in _ATOMS:
        return f"<{type(key).__name__}>"
    text = repr(key)
    return text if len(text) <= _LONGEST_KEY else text[: _LONGEST_KEY - 1] + "…"


def _of_scope(scope: Any, path: str) -> Iterator[Part]:
    for name, part in list(vars(scope).items()):
        if name != "_abc_impl" and type(part) not in _SLOTS:
            yield f"{path}.{name}", part


def _of_function(function: types.FunctionType, path: str) -> Iterator[Part]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"{path}.<closure> {name}", cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"{path}.__defaults__[{number}]", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"{path}.<default> {name}", default
    for name in sorted(_globals_read(function.__code__)):
        if name in function.__globals__:
            yield f"{path} → {name}", function.__globals__[name]
    for name, part in vars(function).items():
        yield f"{path}.{name}", part


def _globals_read(code: types.CodeType) -> set[str]:
    found = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    }
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _globals_read(const)
    return found


def _of_data(value: Any, path: str) -> Iterator[Part]:
    """Yield columns and items under the names that a user knows them by."""
    name = type(value).__name__
    if name == "DataFrame":
        return _items(value.items(), path)
    if name == "Series":
        return _enumerated(value, f"{path}.iloc")
    if name == "ndarray":
        items = _enumerated(value.flat, path if value.ndim == 1 else f"{path}.flat")
        return items if value.dtype.hasobject else iter(())
    return _of_reduced(value, path)


def _of_reduced(value: Any, path: str) -> Iterator[Part]:
    reducer = copyreg.dispatch_table.get(type(value))
    reduced = value.__reduce_ex__(5) if reducer is None else reducer(value)
    if type(reduced) is not tuple:
        return  # the name of something global
    _, arguments, state, listed, mapped = (*reduced, None, None, None)[:5]
    for number, part in enumerate(arguments or (), 1):
        step = "__class__" if part is type(value) else f"<argument {number}>"
        yield f"{path}.{step}", part
    for one in state if type(state) is tuple and len(state) == 2 else (state,):
        if type(one) is dict:
            for name, part in one.items():
                yield f"{path}.{name}" if type(name) is str else f"{path}.<{_key(name)}>", part
        elif one is not None:
            yield f"{path}.<state>", one
    yield from _enumerated(listed or (), path)
    yield from _items(mapped or (), path)
