"""What decorators ask for besides ``@remote``, and how the two come together.

A decorator below ``@remote`` meets a plain function and leaves it one: what it asks for is
noted on the function, as plain values, until ``@remote`` reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .caught import Catch
from .options import Options

__all__ = ["catch_of", "note", "noted", "stacked"]

_NOTE = "__jupyter_compute__"


def note(function: Any, wanted: Mapping[str, Any]) -> None:
    """Note on a plain function what a decorator asks for.

    Parameters
    ----------
    function : callable
    wanted : mapping
        Values of fields of `Options`, and ``catch``: the name and whether to print.

    Raises
    ------
    AttributeError
        If nothing can be noted on it.
    """
    setattr(function, _NOTE, _more(noted(function), wanted))


def noted(function: Any) -> dict[str, Any]:
    """Return what has been noted on a function, or on the one inside a static or class method."""
    plain = getattr(function, "__func__", None)
    inside = {} if plain is None else vars(plain).get(_NOTE, {})
    return _more(inside, getattr(function, "__dict__", {}).get(_NOTE, {}))


def stacked(asked: Options, wanted: Mapping[str, Any]) -> Options:
    """Return the options with what is wanted besides; where both say something, the larger."""
    changes: dict[str, Any] = {}
    given = set(asked.given)
    for field, value in wanted.items():
        if field == "catch":
            continue
        option = field.replace("_", "-")
        mine = getattr(asked, field) if option in asked.given else None
        if mine is None or value >= mine:
            changes[field] = value
        given.add(option)
    if "retry_delay" in changes:
        changes["retry_steady"] = True
    if asked.memory_high is not None and changes.get("memory", 0) >= asked.memory_high:
        changes["memory_high"] = None
    return dataclasses.replace(asked, **changes, given=frozenset(given))


def catch_of(wanted: Mapping[str, Any], source: str) -> Catch | None:
    """Return what holds the exceptions of a function of this name, if that is wanted."""
    if "catch" not in wanted:
        return None
    var, print_exception = wanted["catch"]
    return Catch(var, print_exception, source)


def _more(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the larger of each; of two that catch, the outer one."""
    both = {**first, **second}
    for field in first.keys() & second.keys() - {"catch"}:
        both[field] = max(first[field], second[field])
    return both
