"""What subjects use, one sample for each whole UTC second of the last 5 minutes.

Machines report about once a second, each at its own pace. Brought to whole seconds, their
samples can be added up, and a cursor is one number for all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ["SPAN_S", "Rings", "Value", "at_seconds", "thin"]

SPAN_S = 300

_HOLD_S = 2.5
"""A sample stands for the time until the next one comes, but not for longer than this."""

Point = tuple[float, float, float]
"""UTC seconds, CPUs used, bytes used."""

Value = tuple[float, int] | None
"""CPUs and bytes used in one second; None if unknown."""

Read = Callable[[float], Sequence[Sequence[Point]]]
"""Returns the samples after a moment, oldest first, of each part of a subject."""


class Rings:
    """The last 5 minutes of every subject, up to the same whole second."""

    def __init__(self) -> None:
        self.second = 0
        self._rings: dict[str, deque[Value]] = {}
        self._total: deque[Value] = deque(maxlen=SPAN_S)

    def advance(self, second: int, subjects: Mapping[str, Read], summed: Collection[str]) -> None:
        """Go on to a second that is over.

        Parameters
        ----------
        second : int
            Not before the one of the last call.
        subjects : mapping
            Whoever is not in it is forgotten.
        summed : collection of str
            The subjects that make up the total.
        """
        count = min(second - self.second, SPAN_S)
        for name in self._rings.keys() - subjects.keys():
            del self._rings[name]
        for name, read in subjects.items():
            ring, missing = self._rings.get(name), count
            if ring is None:
                ring, missing = self._rings.setdefault(name, deque(maxlen=SPAN_S)), SPAN_S
            first = second - missing + 1
            parts = [at_seconds(part, first, second) for part in read(first - _HOLD_S)]
            values = _sums(parts, missing)
            ring.extend(values if ring else values[_known_from(values) :])
        parts = [_tail(self._rings[name], count) for name in summed]
        total = _sums(parts, count)
        self._total.extend(total if self._total else total[_known_from(total) :])
        self.second = second

    def total(self, count: int) -> list[Value]:
        """Return the last seconds of the sum, at most so many."""
        return _last(self._total, count)

    def of(self, name: str, count: int) -> list[Value]:
        """Return a subject's last seconds, at most so many; none if it is not known."""
        return _last(self._rings.get(name, ()), count)


def at_seconds(points: Sequence[Point], first: int, last: int) -> list[Value]:
    """Return the value in each second from `first` to `last`: that of the last sample then.

    Parameters
    ----------
    points : sequence of Point
        Oldest first.
    """
    values: list[Value] = []
    index = -1
    for second in range(first, last + 1):
        end = second + 1
        while index + 1 < len(points) and points[index + 1][0] < end:
            index += 1
        if index >= 0 and points[index][0] >= end - _HOLD_S:
            _, cpu, memory = points[index]
            values.append((round(cpu, 2), int(memory)))
        else:
            values.append(None)
    return values


def thin(values: Sequence[Value], last: int, step: int) -> tuple[int, list[Value]]:
    """Return the second of the first of fewer values, and these: means over `step` seconds.

    The steps are the same whatever moment they are looked at, so that nothing flickers.

    Parameters
    ----------
    values : sequence of Value
    last : int
        The second of the last of them.
    step : int
    """
    start = last - len(values) + 1
    if step == 1 or not values:
        return start, list(values)
    groups: dict[int, list[tuple[float, int]]] = {}
    for second, value in enumerate(values, start):
        known = groups.setdefault(second // step, [])
        if value is not None:
            known.append(value)
    return min(groups) * step, [_mean(group) for group in groups.values()]


def _mean(values: Sequence[tuple[float, int]]) -> Value:
    if not values:
        return None
    count = len(values)
    return round(sum(v[0] for v in values) / count, 2), sum(v[1] for v in values) // count


def _sums(parts: Sequence[Sequence[Value]], count: int) -> list[Value]:
    """Return the sums over all parts, each `count` long, of what is known of them."""
    if len(parts) == 1:
        return list(parts[0])
    sums: list[Value] = []
    for index in range(count):
        known = [value for part in parts if (value := part[index]) is not None]
        cpu, memory = sum(v[0] for v in known), sum(v[1] for v in known)
        sums.append((round(cpu, 2), memory) if known else None)
    return sums


def _tail(values: Sequence[Value], count: int) -> list[Value]:
    """Return exactly so many last values; what is missing is unknown."""
    last = _last(values, count)
    return [None] * (count - len(last)) + last


def _last(values: Sequence[Value] | deque[Value], count: int) -> list[Value]:
    skip = max(0, len(values) - max(0, count))
    return list(values)[skip:]


def _known_from(values: Sequence[Value]) -> int:
    """Return where the first known value is; the end if none is."""
    return next((i for i, value in enumerate(values) if value is not None), len(values))
