"""loky: the reusable executor with two workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loky import get_reusable_executor


class Loky:
    """Futures of the executor. Ways: ``chunks``, ``force``."""

    def start(self, way: str) -> None:
        """Make the executor; its workers start on demand."""
        self._way = way
        self._executor = get_reusable_executor(max_workers=2)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit and wait."""
        return self._executor.submit(function, *arguments).result()

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Map with one item per message, or with 100."""
        size = 100 if self._way == "chunks" else 1
        return list(self._executor.map(function, items, chunksize=size))

    def hand_over(self, array: Any) -> Any:
        """Pass the array in the call."""
        return array

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit the function."""
        return self._executor.submit(function, *arguments)

    def cancel(self, task: Any) -> None:
        """Kill all workers: a running task cannot be cancelled."""
        self._executor = get_reusable_executor(max_workers=2, kill_workers=True, reuse=False)

    def stop(self) -> None:
        """End the workers."""
        self._executor.shutdown(wait=True, kill_workers=True)


PEER = Loky()
