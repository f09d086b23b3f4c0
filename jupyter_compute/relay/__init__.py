"""A relay: where machines and a pool that cannot reach each other meet.

It is carried to a stock image as a handful of files: they run with the standard library of
Python 3.9 alone, and import nothing of the rest of the package.
"""

from __future__ import annotations

__all__ = ["DOOR_PORT", "NAME", "POOL_PORT", "SCHEDULER_PORT"]

POOL_PORT = 8786
"""Where the pool calls a relay: the one port that a notebook's network has to let out."""

DOOR_PORT = 8787
SCHEDULER_PORT = 8788
"""Where machines call a relay instead of the pool's door and its scheduler."""

NAME = "pool.jupyter-compute.internal"
"""The name that only the pool itself is certified for, so that no machine passes for it."""
