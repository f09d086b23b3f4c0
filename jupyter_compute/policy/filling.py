"""Filling machines of many types with runs of many sizes, greedily. Pure, no I/O.

See `jupyter_compute.policy.packing`, which says what for.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence

from jupyter_compute.model import Offer

__all__ = ["Bin", "Found", "Packer", "Pattern", "Size", "less", "one_shape", "size", "times"]

_OFF = 0.3
"""How far off a worth is at most, in a try that varies them."""

_EVEN = 0.3
"""How much what a machine has plenty of still counts while it is filled."""

Size = tuple[int, int, int]
"""Thousandths of a CPU, bytes, GPUs."""

Pattern = dict[int, int]
"""What is on one machine: the places of demands, and how many runs of each."""

Found = dict[tuple[Offer, tuple[tuple[int, int], ...]], int]
"""How many machines of an offer, with what on each."""


def size(cpu: float, memory: int, gpu: int) -> Size:
    """Return a size in whole numbers."""
    return round(cpu * 1000), memory, gpu


def times(size: Size, free: Size, most: int) -> int:
    """Return how often a size fits, up to a number."""
    cpu, memory, gpu = size
    some = min(free[0] // cpu, free[1] // memory, most)
    return max(min(some, free[2] // gpu) if gpu else some, 0)


def less(free: Size, size: Size, times: int) -> Size:
    """Return what is free when a size has been taken away so often."""
    return free[0] - size[0] * times, free[1] - size[1] * times, free[2] - size[2] * times


class Bin:
    """One type of machine, and which demands may use it.

    Parameters
    ----------
    offer : Offer
    sizes : sequence of Size
        By demand.
    usable : list of int
        The places of the demands that fit and are allowed.
    """

    def __init__(self, offer: Offer, sizes: Sequence[Size], usable: list[int]) -> None:
        self.offer = offer
        self.size: Size = size(offer.cpu, offer.memory, offer.gpu)
        self.price = 1.0 if offer.usd_per_hour is None else offer.usd_per_hour
        self.usable = usable
        inverse = [1 / amount if amount else 0.0 for amount in self.size]
        self.shares = {
            place: tuple(part * one for part, one in zip(sizes[place], inverse, strict=True))
            for place in usable
        }


class Packer:
    """Packs runs into machines that are to be started.

    Parameters
    ----------
    sizes : sequence of Size
        By demand.
    counts : sequence of int
        How many runs of each have no place.
    bins : sequence of Bin
        The cheapest first.
    number : int
        Of the try: in odd ones a run's worth counts only those like it that wait, and after
        the first two worths are a little off.
    """

    def __init__(
        self, sizes: Sequence[Size], counts: Sequence[int], bins: Sequence[Bin], number: int
    ) -> None:
        self.counts = list(counts)
        self._sizes = sizes
        self._bins = bins
        chance = random.Random(number)
        off = _OFF if number > 1 else 0.0
        self._worth = [
            alone(place, sizes[place], bins, count if number % 2 else 10**9)
            * (1 + off * chance.uniform(-1, 1))
            for place, count in enumerate(counts)
        ]
        self._orders = [self._ranked(one) for one in bins]

    def pack(self) -> Found:
        """Return the machines, the best value first."""
        found: Found = {}
        heap = [(-float("inf"), number) for number in range(len(self._bins))]
        while heap:
            _, number = heapq.heappop(heap)
            value, pattern = self._best(number)
            if not pattern:
                continue
            # What is left only gets worse, so an older value that is lower need not be renewed.
            if heap and value < -heap[0][0]:
                heapq.heappush(heap, (-value, number))
                continue
            some = min(self.counts[place] // runs for place, runs in pattern.items())
            for place, runs in pattern.items():
                self.counts[place] -= runs * some
            key = (self._cheapest(self._bins[number], pattern), tuple(sorted(pattern.items())))
            found[key] = found.get(key, 0) + some
            heapq.heappush(heap, (-value, number))
        return found

    def _ranked(self, one: Bin) -> list[list[int]]:
        """Return the orders in which it is worth trying to fill the machine."""
        shares, worth = one.shares, self._worth
        keys: list[Callable[[int], float]] = [
            lambda place: worth[place],
            lambda place: worth[place] / max(*shares[place], 1e-9),
            lambda place: worth[place] / max(sum(shares[place]), 1e-9),
        ]
        return [sorted(one.usable, key=lambda place: -key(place)) for key in keys]

    def _best(self, number: int) -> tuple[float, Pattern]:
        """Return the most valuable way to fill one machine, and its worth per dollar."""
        one = self._bins[number]
        patterns = [self._fill(one, order) for order in self._orders[number]]
        patterns.append(self._fill_evenly(one))
        worth = [self._sum(pattern) for pattern in patterns]
        best = max(range(len(patterns)), key=worth.__getitem__)
        return worth[best] / max(one.price, 1e-9), patterns[best]

    def _sum(self, pattern: Pattern) -> float:
        return sum(self._worth[place] * runs for place, runs in pattern.items())

    def _fill(self, one: Bin, order: Sequence[int]) -> Pattern:
        """Fill a machine in a given order."""
        free, found = one.size, dict[int, int]()
        for place in order:
            count = self.counts[place]
            if count and (some := times(self._sizes[place], free, count)):
                found[place] = some
                free = less(free, self._sizes[place], some)
        return found

    def _fill_evenly(self, one: Bin) -> Pattern:
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
            some = max(1, times(self._sizes[best], free, left[best]) // 2)
            found[best] = found.get(best, 0) + some
            free = less(free, self._sizes[best], some)
            left[best] -= some
            if not left[best]:
                del left[best]
        return found

    def _cheapest(self, one: Bin, pattern: Pattern) -> Offer:
        """Return the cheapest offer that holds what is to be on the machine."""
        need = [
            sum(self._sizes[place][dimension] * runs for place, runs in pattern.items())
            for dimension in range(3)
        ]
        for other in self._bins:
            if all(n <= have for n, have in zip(need, other.size, strict=True)) and all(
                place in other.shares for place in pattern
            ):
                return other.offer
        return one.offer


def alone(place: int, size: Size, bins: Iterable[Bin], most: int) -> float:
    """Return what a run costs where it shares a machine only with others like it, up to so
    many; 0 if nothing can take it.
    """
    prices = (one.price / times(size, one.size, most) for one in bins if place in one.shares)
    return min(prices, default=0.0) if most else 0.0


def one_shape(sizes: Sequence[Size], counts: Sequence[int], bins: Iterable[Bin]) -> Found:
    """Return the cheapest packing into machines that are all alike, by first fit decreasing.

    It is empty if no type can take every run.
    """
    best: Found = {}
    least = float("inf")
    wanted = [place for place, count in enumerate(counts) if count]
    for one in bins:
        if not all(place in one.shares for place in wanted):
            continue
        patterns = _first_fit(one, sizes, counts, wanted)
        price = one.price * sum(number for _, _, number in patterns)
        if price < least:
            least, best = price, {}
            for _, pattern, number in patterns:
                key = (one.offer, tuple(sorted(pattern.items())))
                best[key] = best.get(key, 0) + number
    return best


def _first_fit(
    one: Bin, sizes: Sequence[Size], counts: Sequence[int], wanted: Iterable[int]
) -> list[tuple[Size, Pattern, int]]:
    """Return what is free, what is on it, and how many machines are like that.

    Machines with the same on them are one entry, so this takes as long for a thousand of them
    as for one.
    """
    groups: list[tuple[Size, Pattern, int]] = []
    for place in sorted(wanted, key=lambda place: (-max(one.shares[place]), place)):
        size, left = sizes[place], counts[place]
        filled: list[tuple[Size, Pattern, int]] = []
        groups.append((one.size, {}, left))
        for free, pattern, number in groups:
            most = times(size, free, left)
            full, rest = divmod(left, most) if most else (0, 0)
            full = min(full, number)
            rest = rest if full < number else 0
            left -= full * most + rest
            kinds = ((most, full), (rest, int(rest > 0)), (0, number - full - (rest > 0)))
            for some, machines in kinds:
                more = pattern | ({place: some} if some else {})
                if machines and more:
                    filled.append((less(free, size, some), more, machines))
        groups = filled
    return groups
