"""Which machines to start elsewhere for what waits. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jupyter_compute.model import Offer
from jupyter_compute.policy.packing import Demand, Room, pack
from jupyter_compute.policy.where import Where

__all__ = ["Waiting", "orders"]

_MOST_OFFERS = 10


@dataclass(frozen=True, slots=True)
class Waiting:
    """Runs that wait for a machine, and ask for the same.

    Parameters
    ----------
    where : Where
    cpu : float
    memory : int
        Bytes.
    gpu : int
    count : int
    age_s : float
        For how long the first of them has waited.
    """

    where: Where
    cpu: float
    memory: int
    gpu: int
    count: int
    age_s: float


def orders(
    waiting: Sequence[Waiting], offers: Sequence[Offer], promised: Iterable[Offer]
) -> list[tuple[tuple[Offer, ...], int]]:
    """Return what to launch: offers that will do, the best first, and how many machines.

    Parameters
    ----------
    waiting : sequence of Waiting
    offers : sequence of Offer
        Those that can be had now.
    promised : iterable of Offer
        Of machines that are starting.
    """
    demands = [
        Demand(w.cpu, w.memory, w.gpu, w.count, w.where.permits)
        for w in sorted(waiting, key=lambda w: -w.age_s)
    ]
    rooms = [Room(offer, offer.cpu, offer.memory, offer.gpu) for offer in promised]
    packing = pack(demands, offers, rooms)
    found = []
    for order in packing.launches:
        runs = [(demands[place], count) for place, count in order.runs]
        like = _like(order.offer, runs, offers)
        found.append(((order.offer, *like[: _MOST_OFFERS - 1]), order.count))
    return found


def _like(
    chosen: Offer, runs: Sequence[tuple[Demand, int]], offers: Sequence[Offer]
) -> list[Offer]:
    """Return other offers of the layer that hold the same runs, the cheapest first."""
    cpu = sum(demand.cpu * count for demand, count in runs)
    memory = sum(demand.memory * count for demand, count in runs)
    gpu = sum(demand.gpu * count for demand, count in runs)
    others = [
        offer
        for offer in offers
        if offer != chosen
        and offer.layer == chosen.layer
        and offer.cpu >= cpu
        and offer.memory >= memory
        and offer.gpu >= gpu
        and all(demand.allows(offer) for demand, _ in runs)
    ]
    return sorted(others, key=lambda o: float("inf") if o.usd_per_hour is None else o.usd_per_hour)
