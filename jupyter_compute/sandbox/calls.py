"""The log of all calls of the API, for tests to assert on."""

from __future__ import annotations

import collections
import itertools
import threading
import time
from typing import Any

__all__ = ["Calls"]

_KEPT = 20_000
_SECRET = ("userdata", "secret", "password")


class Calls:
    """The last calls, numbered from 1 in the order in which they came."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._calls: collections.deque[dict[str, Any]] = collections.deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def begin(
        self, service: str, action: str, params: dict[str, str], **more: Any
    ) -> dict[str, Any]:
        """Note a call; whoever answers it completes the entry with its status."""
        entry = {
            "time": time.time(),
            "service": service,
            "action": action,
            "params": {name: _safe(name, text) for name, text in params.items()},
            "status": None,
            "code": "",
            **more,
        }
        with self._lock:
            entry["n"] = next(self._numbers)
            self._calls.append(entry)
        return entry

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the calls after the one with this number."""
        with self._lock:
            return [dict(call) for call in self._calls if call["n"] > number]


def _safe(name: str, text: str) -> str:
    """What a machine is told may be worth something to others: only its length is kept."""
    if any(word in name.lower() for word in _SECRET):
        return f"<{len(text)} characters>"
    return text if len(text) <= 500 else f"{text[:500]}…"
