"""A map inside a run: the function is a plain one there, and the map a plain loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from .source import Request, Source

__all__ = ["PlainMap", "make_map"]

R = TypeVar("R")


class PlainMap(Generic[R]):
    """The results of a function for many items, made one by one as they are asked for.

    Parameters
    ----------
    function : callable
    source : Source
    request : Request
    """

    def __init__(self, function: Callable[..., Any], source: Source, request: Request) -> None:
        self._function = function
        self._arguments = source.arguments
        self._request = request

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        for arguments in self._arguments:
            try:
                value = self._function(*arguments)
                result: R = _awaited(value) if inspect.iscoroutine(value) else value
            except Exception as error:
                if self._request.errors == "raise":
                    raise
                if self._request.errors == "return":
                    return error  # type: ignore[return-value]
            else:
                return result
        raise StopIteration

    def cancel(self) -> None:
        """End the map: iterating stops."""
        self._arguments = iter(())


class SizedPlainMap(PlainMap[R]):
    """A map over so many items as its containers have."""

    def __init__(self, function: Callable[..., Any], source: Source, request: Request) -> None:
        super().__init__(function, source, request)
        self._total = source.total or 0

    def __len__(self) -> int:
        return self._total


def make_map(function: Callable[..., Any], source: Source, request: Request) -> PlainMap[Any]:
    """Return the map that has not begun yet."""
    kind: type[PlainMap[Any]] = PlainMap if source.total is None else SizedPlainMap
    return kind(function, source, request)


def _awaited(value: Coroutine[Any, Any, Any]) -> Any:
    """Wait for a coroutine; the event loop of this thread is busy with the code that asks."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, value).result()
