"""What an account was found to be, for as long as it is taken to stay so."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Memory"]


class Memory:
    """Values found out at some cost, each kept for a while. May be used from any thread.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._values: dict[str, tuple[float, Any]] = {}

    def get(
        self, name: str, find: Callable[[], Any], keep_s: float | Callable[[Any], float]
    ) -> Any:
        """Return the value, found anew if it is older than it may be.

        Parameters
        ----------
        name : str
        find : callable
            What it raises is raised, and not remembered.
        keep_s : float or callable
            Seconds, or what tells them from the value.
        """
        with self._lock:
            until, value = self._values.get(name, (-math.inf, None))
            if self._clock() >= until:
                self._forget()
                value = find()
                kept = keep_s(value) if callable(keep_s) else keep_s
                self._values[name] = (self._clock() + kept, value)
            return value

    def _forget(self) -> None:
        now = self._clock()
        self._values = {name: held for name, held in self._values.items() if held[0] > now}
