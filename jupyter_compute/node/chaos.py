"""A failure that the user has asked for, done to one attempt on its node."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from ..policy.chaos import HIT_S, read

__all__ = ["Sabotage", "Victim"]

_HELD_S = 10.0
"""What is to be hit does not end before: short code, too, shows what a failure does to it."""


class Victim(Protocol):
    """The attempt, as far as it can be harmed."""

    def say(self, text: str) -> None:
        """Add a note to the run."""

    def crash(self) -> Coroutine[None, None, None]:
        """Kill the child, as if somebody else had."""

    def outgrow(self) -> Coroutine[None, None, None]:
        """End the attempt as one that takes more memory than it may."""


class Sabotage:
    """What is going to be done to an attempt, if anything.

    Parameters
    ----------
    text : str
        As `policy.chaos` reads it; empty for nothing.
    """

    def __init__(self, text: str) -> None:
        self._chaos = read(text) if text else None
        self._blow: asyncio.Task[None] | None = None
        self._begun = self._done = False

    @property
    def held_s(self) -> tuple[float, float]:
        """How long the child waits before its code, and after it."""
        if self._chaos is None:
            return 0.0, 0.0
        return (self._chaos.pause_s, 0.0) if self._chaos.kind == "slow" else (0.0, _HELD_S)

    def begin(self, victim: Victim) -> None:
        """The attempt executes, maybe not for the first time. The loss of its machine is the pool's to bring about."""
        if self._chaos is None or self._chaos.kind == "lose-machine" or self._begun:
            return
        self._begun = True
        if self._chaos.kind == "slow":
            self._confess(victim)
            return
        self._blow = asyncio.ensure_future(self._strike(victim))

    def end(self) -> None:
        """The attempt is over."""
        if self._blow is not None:
            self._blow.cancel()

    def blame(self, reason: str) -> str:
        """Return what the error says of an attempt that died for the reason; often nothing."""
        ends = {"kill": "crash", "oom": "memory", "slow": "timeout"}
        if self._chaos is None or not self._done or ends[self._chaos.kind] != reason:
            return ""
        return self._chaos.blame

    async def _strike(self, victim: Victim) -> None:
        assert self._chaos is not None
        await asyncio.sleep(HIT_S)
        self._confess(victim)
        await (victim.crash() if self._chaos.kind == "kill" else victim.outgrow())

    def _confess(self, victim: Victim) -> None:
        assert self._chaos is not None
        self._done = True
        victim.say(self._chaos.confession)
