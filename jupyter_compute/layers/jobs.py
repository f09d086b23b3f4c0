"""Work that may never come to an end, each in a thread and an event loop of its own.

The classes of dask-cloudprovider wait without limits, and block event loops: a loop that several
shared would stop for all of them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Job"]


class Job:
    """Something that was begun.

    Parameters
    ----------
    make : callable
        Returns what is to be done.
    limit_s : float
        After this it is cancelled, and counts as over even if it does not notice.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]], limit_s: float) -> None:
        self._make = make
        self._limit_s = limit_s
        self._until = time.monotonic() + limit_s
        self._done = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True, name="jupyter-compute-cloud").start()

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self._done.is_set() or time.monotonic() > self._until

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long, and return whether it has come."""
        return self._done.wait(seconds)

    def result(self) -> Any:
        """Return what came of it.

        Raises
        ------
        TimeoutError
            If it did not end.
        """
        if not self._done.is_set():
            raise TimeoutError(f"no answer within {self._limit_s:g} s")
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        async def limited() -> Any:
            return await asyncio.wait_for(self._make(), self._limit_s)

        try:
            self._result = asyncio.run(limited())
        except TimeoutError:
            self._error = TimeoutError(f"no answer within {self._limit_s:g} s")
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self._error = error
        self._done.set()
