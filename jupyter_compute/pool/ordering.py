"""Orders machines from layers elsewhere for what waits, and knows why something waits."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from jupyter_compute.ask import format_cpu
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Launch, Launched, Machine, Refusal
from jupyter_compute.model import Clock, Offer
from jupyter_compute.policy import steps
from jupyter_compute.policy.failures import FINAL, Failures
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.reasons import instead_of, short_of
from jupyter_compute.policy.scaling import scale
from jupyter_compute.policy.steps import Intent, Meant, Scaling
from jupyter_compute.policy.where import Needs, Waiting
from jupyter_compute.pool.launches import Launches
from jupyter_compute.pool.offering import Offering

__all__ = ["Came", "Ordering"]

logger = logging.getLogger(__name__)


class Came(NamedTuple):
    """A machine that a launch has brought, whom it is for, and why this one."""

    machine: Machine
    meant: Meant
    why: str


class Ordering:
    """Decides what to launch for what waits, and has it carried out.

    Parameters
    ----------
    offering : Offering
    launches : Launches
    clock : Clock
    timers : Timers
    came : callable
        Called with a launch, and what it has brought.
    give_up : callable
        Called with layer and message when waiting for the layer is of no use.
    """

    def __init__(
        self,
        offering: Offering,
        launches: Launches,
        clock: Clock,
        timers: Timers,
        came: Callable[[Launch, Sequence[Came]], None],
        give_up: Callable[[str, str], None],
    ) -> None:
        self._offering = offering
        self._launches = launches
        self._clock = clock
        self._came = came
        self._give_up = give_up
        self._timers = timers
        self._failures = Failures(timers)
        self._cpus: dict[tuple[str, bool], float] = {}
        """CPUs of all machines, by layer and whether spot."""
        self._met: frozenset[str] = frozenset()
        self._intents: dict[str, Intent] = {}
        self._whys: dict[str, str] = {}
        self._line: dict[str, int] = {}
        self._boots: dict[str, str] = {}
        """By layer why the last machine failed to start, until one has joined."""
        self._grew = clock.monotonic()

    async def look(
        self, waiting: Sequence[Waiting], machines: Sequence[steps.Machine], limits: Limits
    ) -> Scaling:
        """Launch what is missing, and return what else is to be done.

        Parameters
        ----------
        waiting : sequence of Waiting
        machines : sequence of steps.Machine
            Of layers elsewhere.
        limits : Limits
        """
        now = self._clock.monotonic()
        demands = [one.demand() for one in sorted(waiting, key=lambda one: -one.age_s)]
        line = {demand.key: demand.count for demand in demands}
        if any(count > self._line.get(key, 0) for key, count in line.items()):
            self._grew = now
        self._line = line
        if not demands and not machines:
            self._whys = {}
            return Scaling()
        self._cpus = _cpus(machines)
        names = {one.needs.where.layer for one in waiting}
        self._meet(layer for one in waiting for layer in one.needs.where.layers)
        for name in names:
            self._offering.renew(name)
        offers = dict.fromkeys(offer for name in names for offer in self._offering.of(name))
        self._failures = self._failures.at(now)
        # With the offers of a region that takes a good part of a second.
        scaling = await asyncio.to_thread(
            scale,
            demands,
            [*machines, *self._expected()],
            list(offers),
            limits,
            now=now,
            quiet_s=now - self._grew,
            failures=self._failures,
            timers=self._timers,
        )
        self._whys = {wait.key: wait.why for wait in scaling.waits}
        if scaling.intents and (missing := self._launches.missing()):
            wanted = {key for intent in scaling.intents for one in intent.meant for key, _ in one}
            self._whys |= dict.fromkeys(wanted, missing)
            return dataclasses.replace(scaling, intents=())
        self._launch(scaling.intents)
        return scaling

    def _launch(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            launch = Launch(f"jc-{secrets.token_hex(8)}", intent.offers, intent.count)
            try:
                self._launches.start(launch, self._answered)
            except PoolError as error:
                logger.warning("nothing is launched: %s", error)
                break
            self._intents[launch.id] = intent
            for meant in intent.meant:
                self._whys |= {key: f"starting {intent.offers[0].type}" for key, _ in meant}

    def why(self, needs: Needs) -> str:
        """Return why attempts with such needs wait, as far as it is known."""
        return self._whys.get(str(needs), "")

    def reclaimed(self, offer: Offer) -> None:
        """Note that a spot machine of this offer is taken back."""
        self._failures = self._failures.reclaimed(offer, self._clock.monotonic())

    def joined(self, layer: str) -> None:
        """Note that a machine of the layer has joined."""
        self._failures = self._failures.joined(layer)
        self._boots.pop(layer, None)

    def boot_failed(self, layer: str, why: str, launched: float) -> None:
        """Note that a machine was launched and has not joined."""
        now = self._clock.monotonic()
        self._failures = self._failures.boot_failed(layer, why, launched, now)
        self._boots[layer] = why

    def _meet(self, layers: Iterable[str]) -> None:
        """Start few machines of a layer that is used for the first time, until one has joined."""
        new = frozenset(layers) - self._met
        if new:
            self._met |= new
            untried = self._failures.untried | new
            self._failures = dataclasses.replace(self._failures, untried=untried)

    def _why(self, launch: Launch, intent: Intent, answer: Launched) -> str:
        """Return why the launch has brought these machines, and not others."""
        refused = [(one.offer, one.kind) for one in answer.refused if one.offer is not None]
        why = instead_of(refused) if refused else intent.why
        before = self._boots.get(launch.offers[0].layer)
        return f"{why}; the one before failed to start: {before}" if before else why

    def _in_words(self, refusal: Refusal) -> str:
        """Return what a refusal says, and of a quota what is left of it, as far as is known here."""
        if refusal.limit is None or refusal.offer is None:
            return refusal.message
        used = self._cpus.get((refusal.offer.layer, refusal.offer.spot), 0.0)
        left = refusal.limit - used
        fits = f", --cpu {format_cpu(left)} fits" if left >= 1 else ""
        return f"{refusal.message}; running here: {format_cpu(used)}{fits}"

    def _expected(self) -> list[steps.Machine]:
        """Return the machines that launches are under way for."""
        found = []
        for launch in self._launches.under_way.values():
            offer = launch.offers[0]
            intent = self._intents.get(launch.id)  # a relay is for nobody
            for number, meant in enumerate(intent.meant if intent else ()):
                name = f"{launch.id}.{number}"
                sizes = offer.cpu, offer.memory, offer.gpu
                found.append(steps.Machine(name, offer, "starting", *sizes, meant))
        return found

    def _answered(self, launch: Launch, answer: Launched | PoolError) -> None:
        layer, intent = launch.offers[0].layer, self._intents.pop(launch.id)
        now = self._clock.monotonic()
        if isinstance(answer, PoolError):
            logger.warning("launch %s: %s", launch.id, answer)
            # No machine has failed: AWS is asked again, after growing pauses.
            self._failures = self._failures.refused(
                layer, None, "throttled", str(answer), now, random.random()
            )
            return
        for refusal in answer.refused:
            message = self._in_words(refusal)
            logger.warning("launch %s: %s", launch.id, message)
            self._failures = self._failures.refused(
                layer, refusal.offer, refusal.kind, message, now, random.random()
            )
        if answer.machines:
            self._failures = self._failures.launched(layer)
        pairs = zip(answer.machines, intent.meant, strict=False)
        short = short_of([machine.offer for machine in answer.machines], launch.count)
        why = short or self._why(launch, intent, answer)
        self._came(launch, [Came(machine, meant, why) for machine, meant in pairs])
        final = [refusal for refusal in answer.refused if refusal.kind in FINAL]
        if final and not answer.machines:
            self._give_up(layer, final[-1].message)


def _cpus(machines: Sequence[steps.Machine]) -> dict[tuple[str, bool], float]:
    """Return the CPUs of all machines, by layer and whether spot."""
    found: dict[tuple[str, bool], float] = {}
    for offer in [machine.offer for machine in machines]:
        kind = offer.layer, offer.spot
        found[kind] = found.get(kind, 0.0) + offer.cpu
    return found
