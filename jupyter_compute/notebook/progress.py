"""How far a map is, in words that read as well in a plain text file."""

from __future__ import annotations

import time

from ..ask import format_time

__all__ = ["Progress", "grouped"]


class Progress:
    """Counts of a map's items, updated by the thread that takes the results.

    Parameters
    ----------
    total : int or None
        How many there are; None if nobody knows.
    """

    __slots__ = ("_began", "_done", "_failed", "_lanes", "_retried", "_total")

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._done = self._retried = self._failed = self._lanes = 0
        self._began: float | None = None

    def update(self, done: int, retried: int, failed: int, lanes: int) -> None:
        """Take note of how many items are done, were tried again, failed for good; of the lanes."""
        if self._began is None and lanes:
            self._began = time.monotonic()
        self._done, self._retried, self._failed, self._lanes = done, retried, failed, lanes

    def words(self) -> list[str]:
        """Return the parts of a status line."""
        of = "" if self._total is None else f" of {grouped(self._total)}"
        parts = [f"{self._lanes} at once"] if self._lanes else []
        parts.append(f"{grouped(self._done)}{of} items")
        elapsed = time.monotonic() - (self._began or time.monotonic())
        if self._done and elapsed > 0:
            rate = self._done / elapsed
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self._total is not None and self._total > self._done:
                parts.append(f"{format_time((self._total - self._done) / rate)} left")
        if self._retried:
            parts.append(f"{grouped(self._retried)} tried again")
        if self._failed:
            parts.append(f"{grouped(self._failed)} failed")
        return parts


def grouped(number: int) -> str:
    """Return a count as people read it: ``10 000``."""
    return f"{number:,}".replace(",", "\u202f") if number >= 10_000 else str(number)
