"""Work in the background: shared by those who need the same, or done one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jupyter_compute.parts import Patience

__all__ = ["InOrder", "Shared"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Make = Callable[[Patience], Coroutine[Any, Any, T]]


@dataclass(slots=True)
class _Job(Generic[T]):
    task: asyncio.Task[T]
    patience: Patience
    users: int = 0


class Shared(Generic[T]):
    """Transfers, each made once however many wait for it, and dropped when nobody does.

    Parameters
    ----------
    patience_s : float
        How long one goes on without anything moving.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._jobs: dict[str, _Job[T]] = {}

    async def get(self, key: str, make: Make[T]) -> T:
        """Return what came of the transfer of this name; begin it unless it is under way."""
        job = self._jobs.get(key)
        if job is None:
            patience = Patience(self._patience_s)
            job = _Job(asyncio.ensure_future(make(patience)), patience)
            self._jobs[key] = job
            job.task.add_done_callback(lambda task: self._over(key, task))
        job.users += 1
        try:
            return await asyncio.shield(job.task)
        finally:
            job.users -= 1
            if not job.users and not job.task.done():
                job.patience.dropped.set()
                self._jobs.pop(key, None)

    def done(self, key: str) -> int:
        """Return how many bytes of a transfer have moved; 0 if it is not under way."""
        job = self._jobs.get(key)
        return 0 if job is None else job.patience.done

    def close(self) -> None:
        """Drop everything."""
        for job in self._jobs.values():
            job.patience.dropped.set()

    def _over(self, key: str, task: asyncio.Task[T]) -> None:
        job = self._jobs.get(key)
        if job is not None and job.task is task:
            del self._jobs[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it; there may be nobody left


class InOrder(Generic[T]):
    """Takes a step for one item after the other.

    Parameters
    ----------
    step : callable
        Must not raise.
    """

    def __init__(self, step: Callable[[T], Awaitable[None]]) -> None:
        self._step = step
        self._waiting: deque[T] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or waiting."""
        return self._task is None

    def add(self, item: T) -> None:
        """Take the step for this item once those before it are done."""
        self._waiting.append(item)
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def empty(self) -> None:
        """Return once everything is done."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def cancel(self) -> list[T]:
        """Stop, and return what was under way or waiting."""
        left, self._waiting = list(self._waiting), deque()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            self._task = None
        return left

    async def _run(self) -> None:
        try:
            while self._waiting:
                # It stays in the line while it is under way, for `cancel`.
                item = self._waiting[0]
                await self._step(item)
                if self._waiting and self._waiting[0] is item:
                    self._waiting.popleft()
        except Exception:
            logger.exception("a step that must not fail")
            self._waiting.clear()
        finally:
            if self._task is asyncio.current_task():
                self._task = None
