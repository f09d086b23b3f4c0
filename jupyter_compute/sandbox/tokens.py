"""Client tokens: the same call again is the same launch, as AWS has it.

AWS remembers the token of a call that succeeded. The same call with it gets the same
answer; another one is refused; and once the instances are gone, both are.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

__all__ = ["Remembered", "Tokens"]

LONGEST = 64


@dataclass(slots=True)
class Remembered:
    """What is known of a token. Calls with the same token wait for each other."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    params: dict[str, str] | None = None
    answer: tuple[int, list[tuple[str, str]], bytes] = (0, [], b"")


class Tokens:
    """The tokens of all calls so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], Remembered] = {}

    def of(self, *key: str) -> Remembered:
        """Return what is known of the token with this key: region, action, token."""
        with self._lock:
            return self._known.setdefault(key, Remembered())
