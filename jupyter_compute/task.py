"""The one function that the pool's scheduler names and a node runs.

It stands below both, so that neither imports the other. A node sets `runner` when
it starts; the pool only refers to `run_attempt` by name.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Runner", "run_attempt", "runner"]


class Runner(Protocol):
    """What a node does with an attempt."""

    async def run(self, spec: str) -> None:
        """Run the attempt that the JSON describes; return once its processes are gone."""


runner: Runner | None = None


async def run_attempt(spec: str) -> None:
    """Run one attempt on this node. Its events and its end travel on the node's stream."""
    if runner is None:
        raise RuntimeError("run_attempt was called outside a node")
    await runner.run(spec)
