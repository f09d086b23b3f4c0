"""What a map is asked to do: where its items come from, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Literal

from ..ask import refuse

__all__ = ["Errors", "Request", "Source"]

Errors = Literal["raise", "return", "skip"]

_ERRORS = ("raise", "return", "skip")

Arguments = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """How a map gives its results.

    Parameters
    ----------
    ordered : bool
        In the order of the items.
    errors : {"raise", "return", "skip", "hold"}
        What becomes of an item that has failed for good; "hold" is what ``@catch`` does.
    chunk : int or None
        Items that travel together; None to measure what is right.
    window : int or None
        Items that may be on their way or wait; None to measure what is right.
    """

    ordered: bool = True
    errors: Errors | Literal["hold"] = "raise"
    chunk: int | None = None
    window: int | None = None

    @classmethod
    def read(cls, ordered: object, errors: object, chunk: object, window: object) -> Request:
        """Return what the arguments of `map` say.

        Raises
        ------
        AskError
            If one of them is none of what it may be.
        """
        if not isinstance(ordered, bool):
            refuse("ordered", ordered, "is neither True nor False", "e.g. ordered=False")
        if errors not in _ERRORS:
            refuse("errors", errors, "is none of raise, return, skip", 'e.g. errors="return"')
        size = None if chunk == "auto" else _count("chunk", chunk, " or auto")
        most = None if window is None else _count("window", window)
        return cls(ordered, errors, size, most)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the items of a map come from.

    Parameters
    ----------
    arguments : iterator of tuple
        What the function gets for each item; read when it is needed.
    total : int or None
        How many there are; None if nobody knows.
    sized : bool
        They come from containers only, which the notebook keeps.
    """

    arguments: Iterator[Arguments]
    total: int | None
    sized: bool

    @classmethod
    def of(cls, iterables: tuple[Iterable[Any], ...]) -> Source:
        """Return the items that the iterables make together.

        Raises
        ------
        TypeError
            If there is no iterable, or one that is none.
        ValueError
            If containers differ in length; while it is read, if an iterator is shorter.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable, e.g. fit.map(parts)")
        lengths = {len(part) for part in iterables if isinstance(part, Sized)}
        if len(lengths) > 1:
            sizes = ", ".join(map(str, sorted(lengths)))
            raise ValueError(f"the iterables differ in length: {sizes}")
        total = lengths.pop() if lengths else None
        iterators = [iter(part) for part in iterables]
        together = (
            zip(*iterators, strict=True) if len(iterators) == 1 else _zipped(iterators, total)
        )
        return cls(together, total, all(isinstance(part, Sized) for part in iterables))


def _zipped(iterators: list[Iterator[Any]], total: int | None) -> Iterator[Arguments]:
    """Yield the arguments of each call; containers set the end, iterators must reach it."""
    ended, number = object(), 0
    while total is None or number < total:
        together = tuple(next(iterator, ended) for iterator in iterators)
        over = [value is ended for value in together]
        if all(over):
            return
        if any(over):
            which = over.index(True) + 1
            raise ValueError(f"iterable {which} of the map has only {number} items")
        yield together
        number += 1


def _count(what: str, value: object, besides: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        refuse(what, value, f"is no whole number above 0{besides}", f"e.g. {what}=100")
    return value
