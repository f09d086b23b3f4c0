"""Which of many offers are worth a look, and which an ask allows. Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from jupyter_compute.model import Offer

__all__ = ["Allowance", "Spot", "alternatives", "holds", "likely", "order", "undominated"]

Spot = Literal["auto", "always", "never"]

_LIKELY = 30
"""The cheapest spot machine is one of so many types that are cheapest on demand."""

_MOST_OF_A_TYPE = 3
"""Zones of one type among the alternatives: where it is short in these, it is in others."""

_ON_DEMAND = 3
"""Alternatives that are not spot, where both will do."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Which offers an ask may use. Equal ones are interchangeable, and looked at once.

    Parameters
    ----------
    layers : frozenset of str
    instances : frozenset of str
        Only these types; any that need not be asked for by name if empty.
    spot : {"auto", "always", "never"}
    gpu_name : str
        Only GPUs of this kind, in any case of letters; empty for any.
    most_usd_per_hour : float or None
        Only what is known to cost no more; None if the price need not even be known.
    """

    layers: frozenset[str]
    instances: frozenset[str] = frozenset()
    spot: Spot = "auto"
    gpu_name: str = ""
    most_usd_per_hour: float | None = None

    def __call__(self, offer: Offer) -> bool:
        """Tell whether the ask may use the offer; its size is not looked at."""
        if offer.layer not in self.layers:
            return False
        if self.instances:
            if offer.type not in self.instances:
                return False
        elif offer.on_request:
            return False
        if self.spot != "auto" and offer.spot != (self.spot == "always"):
            return False
        most, price = self.most_usd_per_hour, offer.usd_per_hour
        if most is not None and (price is None or price > most):
            return False
        return not self.gpu_name or offer.gpu_name.lower() == self.gpu_name.lower()


def order(offer: Offer) -> tuple[bool, float, bool, float, int, str, str, str]:
    """Return what offers are sorted by: known prices first, then price; then the safer one,
    the larger one, and a name, so that the order is always the same.
    """
    price = offer.usd_per_hour
    unknown = price is None
    size = -offer.cpu, -offer.memory
    return unknown, price or 0.0, offer.spot, *size, offer.layer, offer.type, offer.zone


def holds(offer: Offer, cpu: float, memory: int, gpu: int) -> bool:
    """Tell whether a machine of the offer has that much."""
    # Thousandths: so many runs of 0.1 CPUs must fit a machine as add up to it.
    return offer.cpu * 1000 >= round(cpu * 1000) and offer.memory >= memory and offer.gpu >= gpu


def likely(offers: Iterable[Offer], cpu: float, memory: int, gpu: int) -> list[str]:
    """Return the types without a price among those that are likely to be the cheapest.

    Parameters
    ----------
    offers : iterable of Offer
        What may be had.
    cpu, memory, gpu : float, int, int
        What a machine must have.
    """
    types: dict[str, list[Offer]] = {}
    for offer in offers:
        if holds(offer, cpu, memory, gpu):
            types.setdefault(offer.type, []).append(offer)

    def rank(name: str) -> tuple[float, float, int, str]:
        prices = [o.usd_per_hour for o in types[name] if o.usd_per_hour is not None]
        first = types[name][0]
        return min(prices, default=math.inf), first.cpu, first.memory, name

    first = sorted(types, key=rank)[:_LIKELY]
    return [name for name in first if any(o.usd_per_hour is None for o in types[name])]


def undominated(
    offers: Iterable[Offer], rules: Sequence[Callable[[Offer], bool]]
) -> list[tuple[Offer, tuple[bool, ...]]]:
    """Return the offers that no other one makes superfluous, the cheapest first.

    That is one which has as much of everything, is allowed by every rule that allows the first,
    and costs no more.

    Parameters
    ----------
    offers : iterable of Offer
    rules : sequence of callable

    Returns
    -------
    list of (Offer, tuple of bool)
        With what each rule says of it.
    """
    kept: list[tuple[Offer, tuple[bool, ...]]] = []
    stairs: dict[tuple[bool, ...], list[tuple[float, int, int]]] = {}
    for offer in sorted(offers, key=order):
        allowed = tuple([rule(offer) for rule in rules])
        if not any(allowed) or _covered(offer, allowed, stairs):
            continue
        stairs.setdefault(allowed, []).append((offer.cpu, offer.memory, offer.gpu))
        kept.append((offer, allowed))
    return kept


def _covered(
    offer: Offer,
    allowed: tuple[bool, ...],
    stairs: dict[tuple[bool, ...], list[tuple[float, int, int]]],
) -> bool:
    cpu, memory, gpu = offer.cpu, offer.memory, offer.gpu
    for wider, sizes in stairs.items():
        if wider == allowed or all(a or not b for a, b in zip(wider, allowed, strict=True)):
            for size in sizes:
                if size[0] >= cpu and size[1] >= memory and size[2] >= gpu:
                    return True
    return False


def alternatives(chosen: Offer, fitting: Iterable[Offer], most: int = 10) -> tuple[Offer, ...]:
    """Return what a launch may try, in this order: the chosen offer, then others.

    They are of the same layer, and the cheapest ones, but not too many of one type, and some
    of the places are kept for machines that are not spot. What has no known price is no
    alternative to what has one.

    Parameters
    ----------
    chosen : Offer
    fitting : iterable of Offer
        What would do, the cheapest first.
    most : int
        So many at most, the chosen one included.
    """
    like, plain = [chosen], list[Offer]()
    taken = {(chosen.type, chosen.spot): 1}
    for offer in fitting:
        if offer.layer != chosen.layer or offer == chosen:
            continue
        if offer.usd_per_hour is None and chosen.usd_per_hour is not None:
            continue
        key = offer.type, offer.spot
        if taken.get(key, 0) >= _MOST_OF_A_TYPE:
            continue
        group = plain if chosen.spot and not offer.spot else like
        if len(group) < most:
            taken[key] = taken.get(key, 0) + 1
            group.append(offer)
    kept = like[: most - min(len(plain), _ON_DEMAND)]
    return tuple(kept + plain[: most - len(kept)])
