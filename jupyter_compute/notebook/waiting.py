"""Waiting in async code for what blocks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")

_LOOK_S = 0.2
"""A kernel that is interrupted cancels the cell only when its event loop wakes up."""


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Call in a thread of its own, and return or raise what that does.

    Unlike with `asyncio.to_thread` any number of calls waits at the same time, and one
    that nobody awaits any more does not hold up the end of the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def run() -> None:
        value, failure = None, None
        try:
            value = context.run(call, *arguments)
        except BaseException as error:  # noqa: BLE001 - whoever awaits it gets it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name="jupyter-compute-wait", daemon=True).start()
    while not future.done():
        await asyncio.wait([future], timeout=_LOOK_S)
    return future.result()
