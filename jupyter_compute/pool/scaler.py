"""Starts machines when runs wait for one, replaces those that died, and ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Introducing, Launch, Layer, Rehearsing
from jupyter_compute.model import Clock, Offer
from jupyter_compute.policy.lifecycle import TIMERS, Timers

__all__ = ["Machine", "Scaler"]

logger = logging.getLogger(__name__)

_MOST_FAILURES = 3
"""Machines of a layer that may fail to start in a row before waiting runs are failed."""

_STARTS = 5
"""How long the next machine of a layer takes to start is told from so many before it."""

_END_S = 10.0
_POLL_S = 0.02


@dataclass(slots=True)
class Machine:
    """A machine of this pool.

    Parameters
    ----------
    id : str
    offer : Offer
    launched : float
        Monotonic seconds.
    started : float
        UTC seconds.
    state : {"starting", "ready", "draining", "ending"}
        One that is draining ends when nothing runs on it any more.
    """

    id: str
    offer: Offer
    launched: float
    started: float
    state: Literal["starting", "ready", "draining", "ending"] = "starting"


class Scaler:
    """The machines of this pool.

    Parameters
    ----------
    layers : mapping
        By name.
    clock : Clock
    timers : Timers
    """

    def __init__(self, layers: Mapping[str, Layer], clock: Clock, timers: Timers = TIMERS) -> None:
        self.layers = layers
        self.machines: dict[str, Machine] = {}
        self._clock = clock
        self._timers = timers
        self._numbers = itertools.count(1)
        self._invite: Callable[[str], str] | None = None
        self._failures: dict[str, int] = {}
        self._starts_s: dict[str, deque[float]] = {}
        self._woken = asyncio.Event()
        self._demand: Callable[[], Mapping[str, int]]
        self._give_up: Callable[[str, str], None]

    def launch(self, offer: Offer) -> Machine:
        """Start a machine of the offered type.

        Raises
        ------
        PoolError
            If the layer refuses; nothing has been started then.
        """
        machine_id = f"{offer.layer}-{os.getpid()}-{next(self._numbers)}"
        layer = self.layers[offer.layer]
        launched = layer.launch(Launch(machine_id, (offer,)))
        if not launched.machines:
            raise PoolError(launched.refused[0].message)
        machine = Machine(machine_id, offer, self._clock.monotonic(), self._clock.now())
        self.machines[machine_id] = machine
        if self._invite is not None and isinstance(layer, Introducing):
            layer.introduce(machine_id, self._invite)
        return machine

    def open(
        self,
        invite: Callable[[str], str],
        demand: Callable[[], Mapping[str, int]],
        give_up: Callable[[str, str], None],
    ) -> None:
        """Introduce the machines to the scheduler, also those launched before it existed.

        Parameters
        ----------
        invite : callable
            From a machine's id to its invitation to the scheduler.
        demand : callable
            Returns how many attempts wait for a machine, by layer.
        give_up : callable
            Called with layer and message when no machine of a layer can be started.
        """
        self._invite, self._demand, self._give_up = invite, demand, give_up
        for machine in self.machines.values():
            layer = self.layers[machine.offer.layer]
            if isinstance(layer, Introducing):
                layer.introduce(machine.id, invite)

    def joined(self, machine_id: str) -> None:
        """A machine has registered with the scheduler."""
        machine = self.machines.get(machine_id)
        if machine is not None and machine.state == "starting":
            machine.state = "ready"
            layer = machine.offer.layer
            self._failures.pop(layer, None)
            starts_s = self._starts_s.setdefault(layer, deque(maxlen=_STARTS))
            starts_s.append(self._clock.monotonic() - machine.launched)

    def left(self, machine_id: str) -> None:
        """The scheduler has lost a machine's connection. It is ended, and replaced on demand."""
        machine = self.machines.get(machine_id)
        if machine is not None:
            machine.state = "ending"
            self.wake()

    def lose(self, machine_id: str) -> None:
        """Kill a machine, to rehearse its loss; what follows is as if it had died by itself."""
        machine = self.machines.get(machine_id)
        layer: object = None if machine is None else self.layers[machine.offer.layer]
        if isinstance(layer, Rehearsing):
            layer.lose(machine_id)

    def drain(self, machine_id: str) -> None:
        """Note that a machine is to end when nothing runs on it any more."""
        if self.machines[machine_id].state == "ready":
            self.machines[machine_id].state = "draining"

    def end(self, machine_id: str) -> None:
        """End a machine, whatever runs on it."""
        self.machines[machine_id].state = "ending"
        self.wake()

    def wake(self) -> None:
        """Look again at once: something has changed."""
        self._woken.set()

    async def run(self, each: Callable[[], None]) -> None:
        """Look once a second, and when woken, until cancelled; call `each` once a second."""
        due = self._clock.monotonic()
        while True:
            self._woken.clear()
            try:
                await self.look()
                if self._clock.monotonic() >= due:
                    due = self._clock.monotonic() + self._timers.tick_s
                    each()
            except Exception:
                logger.exception("the look at machines failed and will be repeated")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._timers.tick_s)

    async def look(self) -> None:
        """Compare machines with demand, once, and act."""
        for layer in self.layers.values():
            await self._mind(layer)
        for name, waiting in self._demand().items():
            if waiting and not any(m.offer.layer == name for m in self.machines.values()):
                await self._launch_one(name)

    def why_none(self, layer: str) -> str:
        """Return what keeps the layer from having a ready machine; empty if it has one.

        For one that starts it says when it will be ready, if earlier ones tell.
        """
        machines = [m for m in self.machines.values() if m.offer.layer == layer]
        if any(machine.state == "ready" for machine in machines):
            return ""
        again = f" (attempt {1 + self._failures[layer]})" if self._failures.get(layer) else ""
        starting = [machine.launched for machine in machines if machine.state == "starting"]
        if starting:
            return f"starting {layer}{again}{self._ready_in(layer, min(starting))}"
        if any(machine.state == "draining" for machine in machines):
            return f"{layer} was told to stop: it ends after the runs on it, and then starts anew"
        return f"{layer} is being replaced" if machines else f"waiting for {layer} to start"

    def start_s(self, offer: Offer) -> float | None:
        """Return how long it takes until there is such a machine; 0 if there is one.

        That is the median of the layer's last ones; None if there has been none, or if one has to
        end first whose runs nobody can foretell.
        """
        of_layer = [m for m in self.machines.values() if m.offer.layer == offer.layer]
        if any(machine.state == "draining" for machine in of_layer):
            return None
        ready = {machine.offer for machine in of_layer if machine.state == "ready"}
        took_s = [0.0] if offer in ready else self._starts_s.get(offer.layer, ())
        return statistics.median(took_s) if took_s else None

    async def close(self) -> None:
        """End all machines, and return once they are gone."""
        end = self._clock.monotonic() + _END_S
        for machine in list(self.machines.values()):
            layer = self.layers[machine.offer.layer]
            while not await asyncio.to_thread(layer.terminate, machine.id):
                if self._clock.monotonic() > end:
                    logger.error("machine %s does not end", machine.id)
                    break
                await asyncio.sleep(_POLL_S)
            self.machines.pop(machine.id, None)

    def _ready_in(self, layer: str, launched: float) -> str:
        """Return when a machine will be ready; nothing if unknown, or if it is late already."""
        starts_s = self._starts_s.get(layer)
        if not starts_s:
            return ""
        left_s = launched + statistics.median(starts_s) - self._clock.monotonic()
        step = 1 if left_s <= 5 else 5
        return f" → ready in ~{step * math.ceil(left_s / step)} s" if left_s > 0 else ""

    async def _mind(self, layer: Layer) -> None:
        """See which machines of the layer are gone or late, and end those that must."""
        seen = {machine.id: machine for machine in await asyncio.to_thread(layer.list)}
        for machine in [m for m in self.machines.values() if m.offer.layer == layer.name]:
            found = seen.get(machine.id)
            late = self._clock.monotonic() - machine.launched > self._timers.launch_deadline_s
            if machine.state == "starting":
                if found is None or found.state == "gone":
                    self._failed(machine, found.why if found else "it is not there")
                elif late:
                    limit = self._timers.launch_deadline_s
                    self._failed(machine, f"it did not join within {limit:g} s")
            elif found is None or found.state == "gone":
                machine.state = "ending"
            if machine.state == "ending" and await asyncio.to_thread(layer.terminate, machine.id):
                self.machines.pop(machine.id, None)

    def _failed(self, machine: Machine, why: str) -> None:
        machine.state = "ending"
        layer = machine.offer.layer
        self._failures[layer] = self._failures.get(layer, 0) + 1
        logger.warning("machine %s failed to start: %s", machine.id, why)
        if self._failures[layer] >= _MOST_FAILURES:
            # The next run gets a fresh set of tries: what was wrong may have been mended.
            tries = self._failures.pop(layer)
            self._give_up(layer, f"{tries} machines in a row failed to start; the last: {why}")

    async def _launch_one(self, layer: str) -> None:
        try:
            offer = self.layers[layer].offers()[0]
            await asyncio.to_thread(self.launch, offer)
        except PoolError as error:
            self._failures[layer] = self._failures.get(layer, 0) + 1
            if self._failures[layer] >= _MOST_FAILURES:
                del self._failures[layer]
                self._give_up(layer, str(error))

    def to_wire(
        self,
        usage: Callable[[str], Any],
        runs: Callable[[str], int],
        rest: Callable[[Machine], Mapping[str, float | None]],
    ) -> list[Any]:
        """Return the machines as clients see them.

        Parameters
        ----------
        usage : callable
            From machine id to its last sample: time, CPUs and bytes used; or None.
        runs : callable
            From machine id to the number of runs on it.
        rest : callable
            From machine to what is known of its rest: for how long, and until when.
        """
        return [
            self._wire(m, usage(m.id), runs(m.id)) | dict(rest(m)) for m in self.machines.values()
        ]

    def _wire(self, machine: Machine, used: Any, runs: int) -> dict[str, Any]:
        offer = machine.offer
        return {
            "id": machine.id,
            "layer": offer.layer,
            "type": offer.type,
            "state": machine.state,
            "spot": False,
            "usd_per_hour": offer.usd_per_hour,
            "cpu": offer.cpu,
            "memory": offer.memory,
            "cpu_used": None if used is None else used[1],
            "memory_used": None if used is None else used[2],
            "started": machine.started,
            "runs": runs,
        }
