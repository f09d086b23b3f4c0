"""Starts machines when runs wait for one, replaces those that died, and ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Introducing, Launch, Layer, Rehearsing
from jupyter_compute.layers.base import Machine as Found
from jupyter_compute.model import Clock, Offer
from jupyter_compute.policy import steps
from jupyter_compute.policy.lifecycle import TIMERS, Timers
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.where import Needs, Waiting, joint
from jupyter_compute.pool.fleet import Machine, Payer
from jupyter_compute.pool.launches import Launches
from jupyter_compute.pool.offering import Offering
from jupyter_compute.pool.ordering import Came, Ordering
from jupyter_compute.pool.starts import Starts, last_words

__all__ = ["Scaler"]

logger = logging.getLogger(__name__)

_MOST_FAILURES = 3
"""Machines of a layer that may fail to start in a row before waiting runs are failed."""

_POLL_S = 0.02
_HEARD_S = 0.05


class Scaler:
    """The machines of this pool.

    Parameters
    ----------
    layers : dict
        By name; they may be replaced while none of their machines are there.
    clock : Clock
    timers : Timers
    """

    def __init__(self, layers: dict[str, Layer], clock: Clock, timers: Timers = TIMERS) -> None:
        self.layers = layers
        self.offering = Offering(layers, clock)
        self.launches = Launches(layers, clock, timers)
        self.machines: dict[str, Machine] = {}
        self._ordering = Ordering(
            self.offering,
            self.launches,
            clock,
            timers,
            self._came,
            lambda layer, why: self._give_up((layer,), why),
        )
        self._clock = clock
        self._timers = timers
        self._numbers = itertools.count(1)
        self._invite: Callable[[str], str] | None = None
        self._failures: dict[str, int] = {}
        self._starts = Starts(clock)
        self._woken = asyncio.Event()
        self.limits = Limits()
        self._demand: Callable[[], Sequence[Waiting]]
        self._give_up: Callable[[Sequence[str], str], None]
        self.free: Callable[[str], tuple[float, int, int] | None] = lambda _: None
        self.idle: Callable[[], Mapping[str, float]] = dict
        self.retiring: Callable[[str], None] = lambda _: None
        self.leaving: Callable[[], Sequence[Waiting]] = tuple
        self.learnt: Callable[[Machine, str], None] = lambda _machine, _why: None
        self.serve: Callable[[], None] = lambda: None
        self.payer: Payer

    def launch(self, offer: Offer) -> Machine:
        """Start a machine of the offered type on a layer that introduces its machines itself.

        Raises
        ------
        PoolError
            If the layer refuses; nothing has been started then.
        """
        machine_id = f"{offer.layer}-{os.getpid()}-{next(self._numbers)}"
        launched = self.layers[offer.layer].launch(Launch(machine_id, (offer,)))
        if not launched.machines:
            raise PoolError(launched.refused[0].message)
        machine = self.machines[machine_id] = Machine(
            machine_id, offer, self._clock.monotonic(), self._clock.now()
        )
        self._introduce(machine)
        return machine

    def open(
        self,
        invite: Callable[[str], str],
        demand: Callable[[], Sequence[Waiting]],
        give_up: Callable[[Sequence[str], str], None],
    ) -> None:
        """Introduce the machines to the scheduler, also those launched before it existed.

        Parameters
        ----------
        invite : callable
            From a machine's id to its invitation to the scheduler.
        demand : callable
            Returns what waits for a machine.
        give_up : callable
            Called with layers and message when no machine of these can be started.
        """
        self._invite, self._demand, self._give_up = invite, demand, give_up
        for machine in self.machines.values():
            self._introduce(machine)

    def joined(self, machine_id: str) -> None:
        """A machine has registered with the scheduler."""
        machine = self.machines.get(machine_id)
        if machine is not None and machine.state == "starting":
            machine.state, layer = "ready", machine.offer.layer
            self._failures.pop(layer, None)
            self._ordering.joined(layer)
            self._starts.joined(layer, machine.launched)

    def left(self, machine_id: str) -> None:
        """The scheduler has lost a machine's connection. It is ended, and replaced on demand."""
        machine = self.machines.get(machine_id)
        if machine is not None:
            machine.lost = machine.lost or machine.state != "ending"
            machine.state = "ending"
            self.wake()

    def lose(self, machine_id: str) -> None:
        """Kill a machine, to rehearse its loss; what follows is as if it had died by itself."""
        machine = self.machines.get(machine_id)
        layer: object = None if machine is None else self.layers[machine.offer.layer]
        if isinstance(layer, Rehearsing):
            layer.lose(machine_id)

    def retire(self, machine_id: str) -> None:
        """End one on which nothing runs; a ready one not if something has just been placed there."""
        machine = self.machines.get(machine_id)
        if machine is None:
            return  # its launch has not been answered yet
        machine.state = "ending" if machine.state == "starting" else "draining"
        self.retiring(machine_id)

    def drain(self, machine_id: str) -> None:
        """Note that a machine is to end when nothing runs on it any more."""
        if self.machines[machine_id].state == "ready":
            self.machines[machine_id].state = "draining"

    def reclaimed(self, machine_id: str) -> bool:
        """Note that the cloud takes a machine back; tell whether it may stay until then."""
        machine = self.machines.get(machine_id)
        if machine is None or machine.state == "ending":
            return False
        if not machine.noticed:
            machine.noticed = True
            self._ordering.reclaimed(machine.offer)
            self.drain(machine_id)
            self.wake()
        return True

    def end(self, machine_id: str) -> None:
        """End a machine, whatever runs on it."""
        self.machines[machine_id].state = "ending"
        self.wake()

    def expect(self, needs: Needs) -> None:
        """Look soon, if what has just come may want a machine."""
        layers = needs.where.layers
        if not any(m.offer.layer in layers for m in self.machines.values()):
            # The scheduler hears of it a moment later.
            asyncio.get_running_loop().call_later(_HEARD_S, self.wake)

    def wake(self) -> None:
        """Look again at once: something has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Look once a second, and when woken, until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.look()
            except Exception:
                logger.exception("the look at machines failed and will be repeated")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._timers.tick_s)

    async def look(self) -> None:
        """Compare machines with demand, once, and act."""
        self.launches.forget_old()
        async with asyncio.TaskGroup() as all_at_once:
            for layer in self.layers.values():
                all_at_once.create_task(self._mind(layer))
        waiting = self._demand()
        there = {machine.offer.layer for machine in self.machines.values()}
        wanted = {name for one in waiting for name in one.needs.where.layers}
        for name in sorted(wanted - there):
            if isinstance(self.layers.get(name), Introducing):
                await self._launch_one(name)
        elsewhere = [one for one in waiting if self._is_elsewhere(one.needs)]
        elsewhere = joint([*elsewhere, *self.leaving()])
        scaling = await self._ordering.look(elsewhere, self._steps(), self.limits)
        for retirement in scaling.retirements:
            logger.info("%s ends: %s", retirement.machine, retirement.why)
            self.retire(retirement.machine)
        if scaling.again_s is not None:
            asyncio.get_running_loop().call_later(scaling.again_s, self.wake)

    def why_waits(self, needs: Needs) -> str:
        """Return what keeps such attempts waiting for a machine; empty if one has come."""
        if not self._is_elsewhere(needs):
            return self.why_none(needs.where.layer)
        key = str(needs)
        mine = [m for m in self.machines.values() if key in dict(m.meant) and m.state == "starting"]
        if mine:
            first = min(mine, key=lambda machine: machine.launched)
            ready_in = self._starts.ready_in(first.offer.layer, first.launched)
            return f"starting {first.label} ({first.why}){ready_in}"
        return self._ordering.why(needs)

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
            return f"starting {layer}{again}{self._starts.ready_in(layer, min(starting))}"
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
        return 0.0 if offer in ready else self._starts.usual_s(offer.layer)

    async def close(self) -> None:
        """End all machines, and return once they are gone, or on their way elsewhere."""
        await self.launches.close()
        end = self._clock.monotonic() + self._timers.end_s
        await asyncio.gather(*(self._see_off(m, end) for m in list(self.machines.values())))

    async def _see_off(self, machine: Machine, end: float) -> None:
        layer = self.layers[machine.offer.layer]
        pause_s = _POLL_S
        while True:
            try:
                gone = await asyncio.to_thread(layer.terminate, machine.id)
                self._ended(layer, machine.id)
                if gone or not isinstance(layer, Introducing):
                    break  # a cloud has taken it on, which may go on for a minute
            except PoolError as error:
                logger.warning("machine %s: %s", machine.id, error)
                pause_s = self._timers.tick_s
            if self._clock.monotonic() > end:
                logger.error("machine %s does not end", machine.id)
                break
            await asyncio.sleep(pause_s)
        self.machines.pop(machine.id, None)

    def _steps(self) -> list[steps.Machine]:
        """Return the machines elsewhere, as the decisions see them."""
        found, idle = [], self.idle()
        for name, machine in self.machines.items():
            offer = machine.offer
            here = isinstance(self.layers[offer.layer], Introducing)
            if here or machine.state == "ending" or machine.role == "relay":
                continue
            free = self.free(name) or (offer.cpu, offer.memory, offer.gpu)
            meant = machine.meant if machine.state == "starting" else ()
            found.append(steps.Machine(name, offer, machine.state, *free, meant, idle.get(name)))
        return found

    def _is_elsewhere(self, needs: Needs) -> bool:
        found = (self.layers.get(name) for name in needs.where.layers)
        return not any(isinstance(layer, Introducing) for layer in found)

    async def _mind(self, layer: Layer) -> None:
        """See which machines of the layer are gone or late, and end those that must."""
        ours = [m for m in self.machines.values() if m.offer.layer == layer.name]
        here = isinstance(layer, Introducing)
        sweeps, under_way = self.launches.sweeps, self.launches.under_way
        if not here:
            busy = bool(ours) or any(
                one.offers[0].layer == layer.name for one in under_way.values()
            )
            if sweeps is None or not sweeps.due(layer.name, busy):
                return
        try:
            seen = {machine.id: machine for machine in await asyncio.to_thread(layer.list)}
        except PoolError as error:
            logger.warning("the machines of %s cannot be listed: %s", layer.name, error)
            return
        limit_s = self._timers.launch_limit_s(layer.name)
        for machine in ours:
            why = self._examine(machine, seen.get(machine.id), limit_s)
            if why:
                self._failed(machine, why + await last_words(layer, machine.id))
        if not here and sweeps is not None:
            for stray in sweeps.listed(layer.name, seen.values(), self.machines, under_way):
                self.payer.found(seen[stray])
                await self._terminate(layer, stray)
            alive = {one.id for one in seen.values() if one.state == "alive"}
            self.payer.listed(layer.name, alive)
        ended = [machine.id for machine in ours if machine.state == "ending"]
        gone = await asyncio.gather(*(self._terminate(layer, one) for one in ended))
        for machine_id in itertools.compress(ended, gone):
            self.machines.pop(machine_id, None)

    def _examine(self, machine: Machine, found: Found | None, limit_s: float) -> str:
        """Return why the machine has failed to start, if it has."""
        gone = found is None or found.state == "gone"
        if gone and found and found.why and (machine.lost or machine.state != "ending"):
            self.learnt(machine, found.why)
        if machine.state == "starting":
            if gone:
                return found.why if found else "it is not there"
            late = self._clock.monotonic() - machine.launched > limit_s
            return f"it did not join within {limit_s:g} s" if late else ""
        if gone and machine.state != "ending":
            if machine.offer.spot and not machine.noticed:
                self._ordering.reclaimed(machine.offer)
            machine.state = "ending"
        return ""

    def _introduce(self, machine: Machine) -> None:
        layer = self.layers[machine.offer.layer]
        if self._invite is not None and isinstance(layer, Introducing):
            layer.introduce(machine.id, self._invite)

    async def _terminate(self, layer: Layer, machine_id: str) -> bool:
        try:
            gone = await asyncio.to_thread(layer.terminate, machine_id)
        except PoolError as error:
            logger.warning("machine %s is still to be ended: %s", machine_id, error)
            return False
        self._ended(layer, machine_id)
        return gone

    def _ended(self, layer: Layer, machine_id: str) -> None:
        if not isinstance(layer, Introducing):
            self.payer.ended(machine_id)

    def _came(self, launch: Launch, found: Sequence[Came]) -> None:
        """Take on what a launch has brought."""
        now, asked = self._clock.monotonic(), self.launches.asked(launch.id)
        for machine, meant, why in found:
            if machine.id not in self.machines:
                came = self.machines[machine.id] = Machine.of(
                    machine, now, launch.id, why=why, meant=meant, asked=asked
                )
                self.payer.opened(came)
                if self.free(came.id) is not None:  # it was quicker than the answer
                    self.joined(came.id)
                    self.serve()

    def _failed(self, machine: Machine, why: str) -> None:
        machine.state = "ending"
        layer = machine.offer.layer
        logger.warning("machine %s failed to start: %s", machine.id, why)
        if machine.role == "relay":
            machine.why = why  # for whoever waits for it
            return
        if not isinstance(self.layers[layer], Introducing):
            self._ordering.boot_failed(layer, why, machine.launched)
            return
        tries = f"{1 + self._failures.get(layer, 0)} machines in a row failed to start"
        self._count(layer, f"{tries}; the last: {why}")

    def _count(self, layer: str, message: str) -> None:
        """Count a failure; after some in a row, tell those who wait."""
        self._failures[layer] = self._failures.get(layer, 0) + 1
        if self._failures[layer] >= _MOST_FAILURES:
            # The next run gets a fresh set of tries: what was wrong may have been mended.
            del self._failures[layer]
            self._give_up((layer,), message)

    async def _launch_one(self, layer: str) -> None:
        try:
            await asyncio.to_thread(self.launch, self.layers[layer].offers()[0])
        except PoolError as error:
            self._count(layer, str(error))
