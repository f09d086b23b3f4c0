"""Which machines to start for runs that wait, at the lowest price. Pure, no I/O.

What is asked for is packed into machines of many types: variable-sized vector bin packing
with a price per bin. The method is greedy: fill one machine of every type as well as
possible, take the type that gives the most for its price, as many of it as there are runs to
fill them alike, and go on with what is left. The worth of a run is what it costs on the type
that suits it best when only others like it run there, so that a run which packs badly by itself
draws the machine on which others make good use of the rest. Others may be any number, or those
that wait: both are tried, for few runs also with worths a little off, and first fit decreasing
into machines that are all alike; the cheapest packing is taken.

``benchmarks/packing.py`` compares the price with the linear relaxation over all patterns of
Gilmore and Gomory (A linear programming approach to the cutting-stock problem, Operations
Research 9, 1961), which no packing can beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jupyter_compute.model import Offer
from jupyter_compute.policy.filling import (
    Bin,
    Found,
    Packer,
    Size,
    alone,
    less,
    one_shape,
    size,
    times,
)
from jupyter_compute.policy.offers import undominated

__all__ = ["MOST_SHAPES", "Demand", "Order", "Packing", "Room", "pack"]

MOST_SHAPES = 300
"""So many different asks are packed at once, the first ones; the next look takes the others."""

_FEW = 200
_TRIES = 16
"""Up to so few runs are packed so often, as every machine that is saved shows in the price."""

Rule = Callable[[Offer], bool]

Held = tuple[tuple[int, int], ...]
"""Places of demands, and how many runs of each."""

Filled = tuple[list[int], tuple[Held, ...]]
"""By demand, how many runs have no room; by room, who is in it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Runs that wait and ask for the same.

    Parameters
    ----------
    cpu : float
    memory : int
        Bytes.
    gpu : int
    count : int
    allows : callable
        Tells whether an offer may be used; its size need not be looked at. Those of several
        demands should be equal where they allow the same: that saves time.
    key : str
        Names this ask, from one look to the next.
    age_s : float
        How long the first of the runs has waited.
    """

    cpu: float
    memory: int
    gpu: int
    count: int
    allows: Rule = lambda _: True
    key: str = ""
    age_s: float = 0.0

    @property
    def size(self) -> Size:
        """What one run needs."""
        return max(round(self.cpu * 1000), 1), max(self.memory, 1), self.gpu


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on a machine that is there, or that has been promised.

    Parameters
    ----------
    offer : Offer
    cpu, memory, gpu : float, int, int
    meant : tuple of (str, int)
        Whom it was started for: the key of a demand, and how many runs of it. They come first.
    """

    offer: Offer
    cpu: float
    memory: int
    gpu: int
    meant: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """Machines to start, all of one type and for the same runs.

    Parameters
    ----------
    offer : Offer
    count : int
    runs : tuple of (int, int)
        What is meant for each: the place of a demand, and how many runs of it.
    """

    offer: Offer
    count: int
    runs: Held


@dataclass(frozen=True, slots=True)
class Packing:
    """What to do for the runs that wait.

    Parameters
    ----------
    orders : tuple of Order
    held : tuple of int
        By demand, how many of its runs find room on machines that are there.
    left : tuple of int
        By demand, how many of its runs no offer can take.
    rooms : tuple of tuple of (int, int)
        By room, what is held there: the place of a demand, and how many runs of it.
    """

    orders: tuple[Order, ...]
    held: tuple[int, ...]
    left: tuple[int, ...]
    rooms: tuple[Held, ...] = ()

    @property
    def usd_per_hour(self) -> float | None:
        """What the orders cost; None if a price is not known."""
        prices = [(order.offer.usd_per_hour, order.count) for order in self.orders]
        known = [price * count for price, count in prices if price is not None]
        return sum(known) if len(known) == len(prices) else None


def pack(demands: Sequence[Demand], offers: Iterable[Offer], rooms: Iterable[Room] = ()) -> Packing:
    """Return the machines to start so that all runs have one, at the lowest price found.

    The same arguments give the same answer. It never costs more than machines that are all
    alike would. Offers whose price is not known are used only for runs that no other can take.

    Parameters
    ----------
    demands : sequence of Demand
        The first in line first.
    offers : iterable of Offer
        Those that can be had now.
    rooms : iterable of Room
        They are filled first.
    """
    demands = demands[:MOST_SHAPES]
    sizes = [demand.size for demand in demands]
    rooms = tuple(rooms)
    counts, filled = _fill(rooms, demands, sizes, range(len(demands)))
    bins: list[Bin] = []
    if any(counts):
        bins = _bins(demands, sizes, offers)
        counts, filled = _refill(rooms, demands, sizes, bins, (counts, filled))
    held = tuple(demand.count - left for demand, left in zip(demands, counts, strict=True))
    orders: list[Order] = []
    for known in (True, False):
        usable = [one for one in bins if (one.offer.usd_per_hour is not None) == known]
        if usable and any(counts):
            found, counts = _cheapest(sizes, counts, usable)
            orders += [Order(offer, count, runs) for (offer, runs), count in found.items()]
    return Packing(tuple(orders), held, tuple(counts), filled)


def _cheapest(
    sizes: Sequence[Size], counts: list[int], bins: Sequence[Bin]
) -> tuple[Found, list[int]]:
    """Return the cheapest packing found, and how many runs no machine can take."""
    left = [
        0 if any(place in one.shares for one in bins) else count
        for place, count in enumerate(counts)
    ]
    counts = [count - none for count, none in zip(counts, left, strict=True)]
    found = [Packer(sizes, counts, bins, 0).pack()]
    # A machine that costs more than everything found so far is no part of anything cheaper.
    bins = [one for one in bins if one.price <= _price(found[0])]
    tries = range(1, _TRIES if sum(counts) <= _FEW else 2)
    found += [Packer(sizes, counts, bins, number).pack() for number in tries]
    if alike := one_shape(sizes, counts, bins):
        found.append(alike)
    return min(found, key=_price), left


def _price(found: Found) -> float:
    """Return what machines cost; of those whose price is not known, how many they are."""
    prices = ((offer.usd_per_hour, count) for (offer, _), count in found.items())
    return sum((1.0 if price is None else price) * count for price, count in prices)


def _bins(demands: Sequence[Demand], sizes: Sequence[Size], offers: Iterable[Offer]) -> list[Bin]:
    rules = list(dict.fromkeys(demand.allows for demand in demands))
    numbers = {rule: number for number, rule in enumerate(rules)}
    rule_of = [numbers[demand.allows] for demand in demands]
    bins = []
    for offer, allowed in undominated(offers, rules):
        whole = size(offer.cpu, offer.memory, offer.gpu)
        usable = [
            place
            for place, need in enumerate(sizes)
            if allowed[rule_of[place]] and times(need, whole, 1)
        ]
        if usable:
            bins.append(Bin(offer, sizes, usable))
    return bins


def _refill(
    rooms: Sequence[Room],
    demands: Sequence[Demand],
    sizes: Sequence[Size],
    bins: Sequence[Bin],
    first: Filled,
) -> Filled:
    """Return what is held where if large runs come first, unless that leaves more to pay for."""
    costs = [alone(place, sizes[place], bins, 10**9) for place in range(len(demands))]
    large = sorted(range(len(demands)), key=lambda place: (-costs[place], place))
    second = _fill(rooms, demands, sizes, large)

    def cost(found: Filled) -> float:
        return sum(left * one for left, one in zip(found[0], costs, strict=True))

    return second if cost(second) < cost(first) else first


def _fill(
    rooms: Sequence[Room], demands: Sequence[Demand], sizes: Sequence[Size], line: Sequence[int]
) -> Filled:
    """Return how many runs find no room, and which ones are held where."""
    counts = [demand.count for demand in demands]
    places = {demand.key: place for place, demand in enumerate(demands) if demand.key}
    free = [size(room.cpu, room.memory, room.gpu) for room in rooms]
    held = [dict[int, int]() for _ in rooms]

    def hold(number: int, place: int, most: int) -> None:
        some = times(sizes[place], free[number], min(counts[place], most))
        if some:
            counts[place] -= some
            free[number] = less(free[number], sizes[place], some)
            held[number][place] = held[number].get(place, 0) + some

    for number, room in enumerate(rooms):
        for key, runs in room.meant:
            if key in places:
                hold(number, places[key], runs)
    for number, room in enumerate(rooms):
        for place in line:
            if counts[place] and demands[place].allows(room.offer):
                hold(number, place, counts[place])
    return counts, tuple(tuple(sorted(runs.items())) for runs in held)
