"""When clouds are asked for the machines that they have of ours, and which of those are nobody's."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from jupyter_compute.layers.base import Machine as Found
from jupyter_compute.model import Clock
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.pool.fleet import Machine

__all__ = ["Log", "Sweeps"]

logger = logging.getLogger(__name__)

_FIRST = 20
"""So many sweeps follow one another more quickly."""

_SETTLED_S = 60.0
"""For so long a cloud may not list yet what it has launched."""


class Log(Protocol):
    """Where launches are written down; see `jupyter_compute.pool.launch_log`."""

    def intend(self, launch: str, layer: str, count: int, now: float) -> None:
        """Write down what is about to be asked for."""

    def unsettled(self) -> dict[str, tuple[str, float]]:
        """Return, by launch, its layer and when it was intended."""

    def settle(self, launches: Iterable[str]) -> None:
        """Strike out launches of which no machine is left."""


class Sweeps:
    """Looks for machines that no record knows.

    A layer is asked as long as there may be machines of ours on it, which the log of launches
    says. So a pool that has only ever used this computer asks nobody.

    Parameters
    ----------
    log : Log
    clock : Clock
    timers : Timers
    """

    def __init__(self, log: Log, clock: Clock, timers: Timers) -> None:
        self._log = log
        self._clock = clock
        self._timers = timers
        self._open = log.unsettled()
        self._earlier = set(self._open)
        self._asked: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def intend(self, launch: str, layer: str, count: int) -> None:
        """Write a launch down, before it is asked for."""
        now = self._clock.now()
        self._log.intend(launch, layer, count, now)
        self._open[launch] = layer, now

    def due(self, layer: str, busy: bool) -> bool:
        """Tell whether the layer is to be asked for its machines now.

        Parameters
        ----------
        layer : str
        busy : bool
            Whether there are machines that are to be watched.
        """
        if not busy and all(name != layer for name, _ in self._open.values()):
            return False
        swept = self._count.get(layer, 0)
        pause_s = self._timers.sweep_first_s if swept < _FIRST else self._timers.sweep_s
        pause_s = self._timers.list_s if busy else pause_s
        now = self._clock.monotonic()
        if now - self._asked.get(layer, -math.inf) < pause_s:
            return False
        self._asked[layer] = now
        self._count[layer] = swept + 1
        return True

    def listed(
        self,
        layer: str,
        seen: Iterable[Found],
        ours: Mapping[str, Machine],
        under_way: Collection[str],
    ) -> list[str]:
        """Return the machines that are nobody's, and strike out launches that are over.

        Parameters
        ----------
        layer : str
        seen : iterable of Found
            All machines of the layer.
        ours : mapping
            The machines that the pool knows, by id.
        under_way : collection of str
            Launches whose answer has not come.
        """
        alive = [found for found in seen if found.state == "alive"]
        strays = [
            found for found in alive if found.id not in ours and self._nobodys(found, under_way)
        ]
        for stray in strays:
            logger.warning("%s of launch %s is nobody's, and is ended", stray.id, stray.launch)
        needed = {found.launch for found in alive} | {machine.launch for machine in ours.values()}
        now = self._clock.now()
        over = [
            launch
            for launch, (name, intended) in self._open.items()
            if name == layer
            and launch not in needed
            and launch not in under_way
            and (launch in self._earlier or now - intended > _SETTLED_S)
        ]
        self._log.settle(over)
        for launch in over:
            del self._open[launch]
        return [stray.id for stray in strays]

    def _nobodys(self, found: Found, under_way: Collection[str]) -> bool:
        if found.launch in under_way:
            return False
        old = self._clock.now() - found.started > self._timers.stray_s
        return old or found.launch in self._earlier
