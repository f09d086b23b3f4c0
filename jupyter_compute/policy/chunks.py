"""How the items of a map are cut into chunks, and how many lanes work on them. Pure, no I/O.

A chunk should take a fraction of a second: long enough that its way costs little beside
it, short enough that cancelling, retrying and balancing stay quick. What an item takes
is only known once some have run, so the first chunks have one item each.
"""

from __future__ import annotations

import math

__all__ = ["BYTES_IN_FLIGHT", "next_size", "room_for_lanes", "window"]

TARGET_S = 0.2
"""What a chunk should take."""

LEAST_S = 0.02
"""Chunks are not made smaller than this to balance the end of a map."""

GROWTH = 32
"""A chunk has at most so many times the items of the one before: one fast item proves little."""

MOST_ITEMS = 2**16
"""In one chunk."""

MOST_BYTES = 16 * 2**20
"""In one chunk, unless a single item is larger."""

BYTES_IN_FLIGHT = 256 * 2**20
"""Of items that are on their way, and of results that wait for an earlier one."""

_AHEAD_S = 10.0
_LEAST_WINDOW, _MOST_WINDOW = 32, 200_000


def next_size(
    *, item_s: float | None, item_bytes: float, last: int, lanes: int, left: int | None
) -> int:
    """Return how many items the next chunk gets.

    Parameters
    ----------
    item_s : float or None
        Seconds that an item takes, as measured; None as long as nothing has been.
    item_bytes : float
        Bytes that an item takes on its way; 0 if unknown.
    last : int
        Items in the largest chunk so far; 0 for the first.
    lanes : int
        How many chunks can be worked on at the same time.
    left : int or None
        Items that have not been sent; None if nobody knows.
    """
    if item_s is None or last < 1:
        return 1
    item_s = max(item_s, 1e-9)
    size = min(TARGET_S / item_s, last * GROWTH, MOST_ITEMS)
    if item_bytes > 0:
        size = min(size, MOST_BYTES / item_bytes)
    if left is not None:
        # Towards the end chunks become smaller, so that all lanes finish together.
        fair = math.ceil(left / (2 * lanes))
        size = min(size, max(fair, LEAST_S / item_s), left)
    return max(1, int(size))


def window(item_s: float | None, lanes: int) -> int:
    """Return how many items may be on their way or wait for an earlier one."""
    least = _LEAST_WINDOW * lanes
    if item_s is None:
        return least
    return int(min(max(least, lanes * _AHEAD_S / max(item_s, 1e-9)), _MOST_WINDOW))


def room_for_lanes(cpu: float, memory: int, machine_cpu: float, machine_memory: int) -> int:
    """Return how many lanes of this size one machine holds; at least 1."""
    by_cpu = (machine_cpu + 1e-6) // cpu
    by_memory = machine_memory // memory if memory else by_cpu
    return max(1, int(min(by_cpu, by_memory)))
