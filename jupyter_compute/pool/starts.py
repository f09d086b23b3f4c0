"""How machines start: how long it takes, and what those said last that did not."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections import deque
from collections.abc import Iterable

from jupyter_compute.layers.base import Explaining, Layer
from jupyter_compute.model import Clock
from jupyter_compute.pool.fleet import Machine

__all__ = ["Starts", "last_words"]

_LAST = 5
"""How long the next machine of a layer takes to start is told from so many before it."""

_MOST_WORDS = 300
"""Characters of a machine's console in a reason."""


class Starts:
    """How long the last machines of each layer took to start.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._took_s: dict[str, deque[float]] = {}

    def joined(self, layer: str, launched: float) -> None:
        """Note that a machine that was launched at this monotonic second has joined now."""
        took_s = self._took_s.setdefault(layer, deque(maxlen=_LAST))
        took_s.append(self._clock.monotonic() - launched)

    def usual_s(self, layer: str) -> float | None:
        """Return how long it takes; None if there has been none."""
        took_s = self._took_s.get(layer)
        return statistics.median(took_s) if took_s else None

    def ready_in(self, layer: str, launched: float) -> str:
        """Return when a machine will be ready; nothing if unknown, or if it is late already."""
        usual_s = self.usual_s(layer)
        if usual_s is None:
            return ""
        left_s = launched + usual_s - self._clock.monotonic()
        step = 1 if left_s <= 5 else 5
        return f" → ready in ~{step * math.ceil(left_s / step)} s" if left_s > 0 else ""

    def meant_for(self, key: str, machines: Iterable[Machine]) -> list[tuple[int, str]]:
        """Return for how many runs of a demand which machine starts, the oldest one first."""
        found = []
        for machine in sorted(machines, key=lambda machine: machine.launched):
            runs = dict(machine.meant).get(key, 0)
            if runs and machine.state == "starting":
                ready_in = self.ready_in(machine.offer.layer, machine.launched)
                found.append((runs, f"starting {machine.label} ({machine.why}){ready_in}"))
        return found


async def last_words(layer: Layer, machine_id: str) -> str:
    """Return what a machine that failed said last, as the end of a sentence."""
    if not isinstance(layer, Explaining):
        return ""
    said = (await asyncio.to_thread(layer.console, machine_id)).split("\n")
    lines = [" ".join(line.split()) for line in said if line.strip()]
    return f" (console: {' / '.join(lines)[-_MOST_WORDS:]})" if lines else ""
