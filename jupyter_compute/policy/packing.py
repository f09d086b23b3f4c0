"""Which machines to start for runs that wait, at the lowest price. Pure, no I/O.

What is asked for is packed into machines of many types: variable-sized vector bin packing
with a price per bin. The method is greedy: fill one machine of every type as well as
possible, take the type that gives the most for its price, as many of it as there are runs to
fill them alike, and go on with what is left. The worth of a run is what it costs on the type
that suits it best when only others like it run there, so that a run which packs badly by itself
draws the machine on which others make good use of the rest. Others may be any number, or those
that wait: both are tried, for few runs also with worths a little off, and the cheapest packing
is taken.

``benchmarks/packing.py`` compares the price with the linear relaxation over all patterns of
Gilmore and Gomory (A linear programming approach to the cutting-stock problem, Operations
Research 9, 1961), which no packing can beat.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jupyter_compute.model import Offer

__all__ = ["Demand", "Launch", "Packing", "Room", "pack"]

_MOST_SHAPES = 300
"""So many different asks are packed at once, the first ones; the next look takes the others."""

_FEW = 200
_TRIES = 16
"""Up to so few runs are packed so often, as every machine that is saved shows in the price."""

_OFF = 0.3
"""How far off a worth is at most, in such a try."""

_EVEN = 0.3
"""How much what a machine has plenty of still counts while it is filled."""

Size = tuple[int, int, int]
"""Thousandths of a CPU, bytes, GPUs."""

Pattern = dict[int, int]
"""What is on one machine: the places of demands, and how many runs of each."""


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
        Tells whether an offer may be used; its size need not be looked at.
    """

    cpu: float
    memory: int
    gpu: int
    count: int
    allows: Callable[[Offer], bool] = lambda _: True

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
    """

    offer: Offer
    cpu: float
    memory: int
    gpu: int


@dataclass(frozen=True, slots=True)
class Launch:
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
    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Packing:
    """What to do for the runs that wait.

    Parameters
    ----------
    launches : tuple of Launch
    held : tuple of int
        By demand, how many of its runs find room on machines that are there.
    left : tuple of int
        By demand, how many of its runs no offer can take.
    """

    launches: tuple[Launch, ...]
    held: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def usd_per_hour(self) -> float | None:
        """What the launches cost; None if a price is not known."""
        prices = [(launch.offer.usd_per_hour, launch.count) for launch in self.launches]
        known = [price * count for price, count in prices if price is not None]
        return sum(known) if len(known) == len(prices) else None


def pack(demands: Sequence[Demand], offers: Iterable[Offer], rooms: Iterable[Room] = ()) -> Packing:
    """Return the machines to start so that all runs have one, at the lowest price found.

    The same arguments give the same answer. Offers whose price is not known are used only for
    runs that no other can take.

    Parameters
    ----------
    demands : sequence of Demand
        The first in line first.
    offers : iterable of Offer
        Those that can be had now.
    rooms : iterable of Room
        They are filled first.
    """
    demands = demands[:_MOST_SHAPES]
    counts = [demand.count for demand in demands]
    for room in rooms:
        _occupy(room, demands, counts)
    held = tuple(demand.count - left for demand, left in zip(demands, counts, strict=True))
    offers = list(offers)
    launches: list[Launch] = []
    for known in (True, False):
        usable = [offer for offer in offers if (offer.usd_per_hour is not None) == known]
        tries = range(_TRIES if sum(counts) <= _FEW else 2)
        packers = [_Packer(demands, counts, usable, number) for number in tries]
        found = [packer.pack() for packer in packers]
        best = min(tries, key=lambda number: _price(found[number]))
        launches += found[best]
        counts = packers[best].counts
    return Packing(tuple(launches), held, tuple(counts))


def _price(launches: Iterable[Launch]) -> float:
    """Return what launches cost; for those whose price is not known, how many they are."""
    prices = ((launch.offer.usd_per_hour, launch.count) for launch in launches)
    return sum((1.0 if price is None else price) * count for price, count in prices)


def _occupy(room: Room, demands: Sequence[Demand], counts: list[int]) -> None:
    """Take the runs away, in their order, that find room."""
    free = (round(room.cpu * 1000), room.memory, room.gpu)
    for place, demand in enumerate(demands):
        if counts[place] and demand.allows(room.offer):
            some = _times(demand.size, free, counts[place])
            counts[place] -= some
            free = _less(free, demand.size, some)


class _Bin:
    """One type of machine, and which demands may use it."""

    def __init__(self, offer: Offer, sizes: Sequence[Size], usable: list[int]) -> None:
        self.offer = offer
        self.size: Size = (round(offer.cpu * 1000), offer.memory, offer.gpu)
        self.price = 1.0 if offer.usd_per_hour is None else offer.usd_per_hour
        self.usable = usable
        inverse = [1 / amount if amount else 0.0 for amount in self.size]
        self.shares = {
            place: tuple(part * one for part, one in zip(sizes[place], inverse, strict=True))
            for place in usable
        }
        self.orders: list[list[int]] = []

    def rank(self, worth: Sequence[float]) -> None:
        """Note the orders in which it is worth trying to fill the machine."""
        shares = self.shares
        keys: list[Callable[[int], float]] = [
            lambda place: worth[place],
            lambda place: worth[place] / max(*shares[place], 1e-9),
            lambda place: worth[place] / max(sum(shares[place]), 1e-9),
        ]
        self.orders = [sorted(self.usable, key=lambda place: -key(place)) for key in keys]


class _Packer:
    """Packs runs into machines that are to be started.

    Parameters
    ----------
    demands : sequence of Demand
    counts : sequence of int
        How many runs of each have no place.
    offers : iterable of Offer
    number : int
        Of the try: in odd ones a run's worth counts only those like it that wait, and after
        the first two worths are a little off.
    """

    def __init__(
        self, demands: Sequence[Demand], counts: Sequence[int], offers: Iterable[Offer], number: int
    ) -> None:
        self.counts = list(counts)
        self._alike = number % 2 == 1
        self._sizes = [demand.size for demand in demands]
        self._bins = [self._bin(offer, demands) for offer in _undominated(offers, demands)]
        self._bins = [one for one in self._bins if one.usable]
        chance = random.Random(number)
        off = _OFF if number > 1 else 0.0
        self._worth = [
            self._alone(place) * (1 + off * chance.uniform(-1, 1)) for place in range(len(demands))
        ]
        for one in self._bins:
            one.rank(self._worth)

    def pack(self) -> list[Launch]:
        """Return the launches, the best value first."""
        found: dict[tuple[Offer, tuple[tuple[int, int], ...]], int] = {}
        heap = [(-float("inf"), number) for number in range(len(self._bins))]
        while heap:
            _, number = heapq.heappop(heap)
            one = self._bins[number]
            value, pattern = self._best(one)
            if not pattern:
                continue
            # What is left only gets worse, so an older value that is lower need not be renewed.
            if heap and value < -heap[0][0]:
                heapq.heappush(heap, (-value, number))
                continue
            some = min(self.counts[place] // runs for place, runs in pattern.items())
            for place, runs in pattern.items():
                self.counts[place] -= runs * some
            key = (self._cheapest(one, pattern), tuple(sorted(pattern.items())))
            found[key] = found.get(key, 0) + some
            heapq.heappush(heap, (-value, number))
        return [Launch(offer, count, runs) for (offer, runs), count in found.items()]

    def _bin(self, offer: Offer, demands: Sequence[Demand]) -> _Bin:
        whole = (round(offer.cpu * 1000), offer.memory, offer.gpu)
        usable = [
            place
            for place, demand in enumerate(demands)
            if self.counts[place] and _times(demand.size, whole, 1) and demand.allows(offer)
        ]
        return _Bin(offer, self._sizes, usable)

    def _alone(self, place: int) -> float:
        """Return what a run costs where it shares a machine only with others like it."""
        bins = (one for one in self._bins if place in one.shares)
        size, count = self._sizes[place], self.counts[place] if self._alike else 10**9
        prices = (one.price / _times(size, one.size, count) for one in bins)
        return min(prices, default=0.0)

    def _best(self, one: _Bin) -> tuple[float, Pattern]:
        """Return the most valuable way to fill one machine, and its worth per dollar."""
        patterns = [self._fill(one, order) for order in one.orders]
        patterns.append(self._fill_evenly(one))
        worth = [self._sum(pattern) for pattern in patterns]
        best = max(range(len(patterns)), key=worth.__getitem__)
        return worth[best] / max(one.price, 1e-9), patterns[best]

    def _sum(self, pattern: Pattern) -> float:
        return sum(self._worth[place] * runs for place, runs in pattern.items())

    def _fill(self, one: _Bin, order: Sequence[int]) -> Pattern:
        """Fill a machine in a given order."""
        free, found = one.size, {}
        for place in order:
            count = self.counts[place]
            if count and (some := _times(self._sizes[place], free, count)):
                found[place] = some
                free = _less(free, self._sizes[place], some)
        return found

    def _fill_evenly(self, one: _Bin) -> Pattern:
        """Fill a machine with what makes the best use of what it still has plenty of."""
        free, found = one.size, dict[int, int]()
        left = {place: self.counts[place] for place in one.usable if self.counts[place]}
        while left:
            scarce = [
                1 - have / whole + _EVEN if whole else 0.0
                for have, whole in zip(free, one.size, strict=True)
            ]
            best, most = -1, -1.0
            cpu, memory, gpu = free
            for place in list(left):
                size = self._sizes[place]
                if size[0] > cpu or size[1] > memory or size[2] > gpu:
                    del left[place]
                    continue
                a, b, c = one.shares[place]
                use = a * scarce[0] + b * scarce[1] + c * scarce[2]
                value = self._worth[place] / max(use, 1e-9)
                if value > most:
                    best, most = place, value
            if best < 0:
                break
            some = max(1, _times(self._sizes[best], free, left[best]) // 2)
            found[best] = found.get(best, 0) + some
            free = _less(free, self._sizes[best], some)
            left[best] -= some
            if not left[best]:
                del left[best]
        return found

    def _cheapest(self, one: _Bin, pattern: Pattern) -> Offer:
        """Return the cheapest offer that holds what is to be on the machine."""
        need = [
            sum(self._sizes[place][dimension] * runs for place, runs in pattern.items())
            for dimension in range(3)
        ]
        holding = (
            other
            for other in self._bins
            if all(n <= have for n, have in zip(need, other.size, strict=True))
            and all(place in other.shares for place in pattern)
        )
        return min(holding, key=lambda other: _order(other.offer), default=one).offer


def _undominated(offers: Iterable[Offer], demands: Sequence[Demand]) -> list[Offer]:
    """Drop offers for which another one has as much of everything, is allowed wherever they
    are, and costs no more.
    """
    kept: dict[tuple[bool, ...], list[Offer]] = {}
    for offer in sorted(offers, key=_order):
        allowed = tuple(demand.allows(offer) for demand in demands)
        others = (
            other
            for wider, group in kept.items()
            if all(a or not b for a, b in zip(wider, allowed, strict=True))
            for other in group
        )
        if not any(_covers(other, offer) for other in others):
            kept.setdefault(allowed, []).append(offer)
    return sorted((offer for group in kept.values() for offer in group), key=_order)


def _order(offer: Offer) -> tuple[float, float, int, str, str]:
    price = 0.0 if offer.usd_per_hour is None else offer.usd_per_hour
    return price, -offer.cpu, -offer.memory, offer.layer, offer.type


def _covers(other: Offer, offer: Offer) -> bool:
    return other.cpu >= offer.cpu and other.memory >= offer.memory and other.gpu >= offer.gpu


def _times(size: Size, free: Size, most: int) -> int:
    """Return how often a size fits, up to a number."""
    cpu, memory, gpu = size
    some = min(free[0] // cpu, free[1] // memory, most)
    return min(some, free[2] // gpu) if gpu else some


def _less(free: Size, size: Size, times: int) -> Size:
    return free[0] - size[0] * times, free[1] - size[1] * times, free[2] - size[2] * times
