"""Orders machines from layers elsewhere, and remembers what cannot be had for now."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Launch, Launched, Machine, Refusal
from jupyter_compute.model import Clock, Offer
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.starting import Waiting, orders
from jupyter_compute.pool.launches import Launches
from jupyter_compute.pool.offering import Offering

__all__ = ["Ordering"]

logger = logging.getLogger(__name__)

_PASSING = {"capacity", "quota", "throttled"}
"""Refusals that may be different in a while."""

Key = tuple[str, str, str, bool]


class Ordering:
    """Decides what to launch for what waits, and carries it out.

    Parameters
    ----------
    offering : Offering
    launches : Launches
    clock : Clock
    came : callable
        Called with a launch and the machines that it has brought.
    refused : callable
        Called with a layer, a message, and whether it is of no use to try again.
    """

    def __init__(
        self,
        offering: Offering,
        launches: Launches,
        clock: Clock,
        came: Callable[[Launch, Sequence[Machine]], None],
        refused: Callable[[str, str, bool], None],
    ) -> None:
        self._offering = offering
        self._launches = launches
        self._clock = clock
        self._came = came
        self._refused = refused
        self._until: dict[Key, float] = {}

    def order(self, waiting: Sequence[Waiting], starting: Sequence[Offer], room: int) -> None:
        """Launch what is missing.

        Parameters
        ----------
        waiting : sequence of Waiting
        starting : sequence of Offer
            Of machines that are on their way.
        room : int
            How many more machines there may be.
        """
        waiting = [demand for demand in waiting if demand.age_s >= TIMERS.batch_s]
        if not waiting:
            return
        under_way = list(self._launches.under_way.values())
        promised = [*starting, *(la.offers[0] for la in under_way for _ in range(la.count))]
        names = {demand.where.layer for demand in waiting}
        for name in names:
            self._offering.renew(name)
        offers = dict.fromkeys(offer for name in names for offer in self._offering.of(name))
        now = self._clock.monotonic()
        usable = [offer for offer in offers if self._until.get(_key(offer), 0.0) <= now]
        room -= sum(launch.count for launch in under_way)
        for choice, wanted in orders(waiting, usable, promised):
            count = min(wanted, room)
            if count <= 0:
                return
            room -= count
            launch = Launch(f"jc-{secrets.token_hex(8)}", choice, count)
            logger.info("launch %s: %d of %s", launch.id, count, choice[0].type)
            self._launches.start(launch, self._answered)

    def _answered(self, launch: Launch, answer: Launched | PoolError) -> None:
        layer = launch.offers[0].layer
        if isinstance(answer, PoolError):
            self._refused(layer, str(answer), False)
            return
        self._came(launch, answer.machines)
        for refusal in answer.refused:
            self._note(refusal)
        if not answer.machines:
            last = answer.refused[-1] if answer.refused else None
            final = last is not None and last.kind not in _PASSING
            self._refused(layer, last.message if last else "the layer started nothing", final)

    def _note(self, refusal: Refusal) -> None:
        logger.warning("refused: %s", refusal.message)
        if refusal.offer is not None and refusal.kind in _PASSING:
            until = self._clock.monotonic() + TIMERS.unavailable_s
            self._until[_key(refusal.offer)] = until


def _key(offer: Offer) -> Key:
    return offer.layer, offer.type, offer.zone, offer.spot
