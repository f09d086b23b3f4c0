"""The tasks that wait for a machine, in order, one queue per shape of what they ask for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sortedcontainers import SortedDict

__all__ = ["Line", "Place", "Rank", "Shape"]

Shape = tuple[tuple[str, float], ...]
"""What a task asks for: sorted pairs of resource and amount, so that it can be a key."""

Rank = tuple[float, float]
"""The order of the line: urgency (less is more urgent), then number of arrival."""


@dataclass(frozen=True, slots=True)
class Place:
    """One task's place in the line; `since` is the monotonic second in which it took it."""

    rank: Rank
    shape: Shape
    since: float
    task: Any


class Line:
    """The waiting tasks. Every operation costs O(log tasks), or O(shapes) where it says so."""

    def __init__(self) -> None:
        self._places: dict[Any, Place] = {}
        self._queues: dict[Shape, SortedDict[Rank, Place]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: Place) -> None:
        """Let a task wait; it must not be waiting."""
        self._places[place.task.key] = place
        self._queues.setdefault(place.shape, SortedDict())[place.rank] = place

    def remove(self, key: Any) -> Place | None:
        """Take a task out, wherever it stands. Return its place, None if it had none."""
        place = self._places.pop(key, None)
        if place is not None:
            queue = self._queues[place.shape]
            del queue[place.rank]
            if not queue:
                del self._queues[place.shape]
        return place

    def get(self, key: Any) -> Place | None:
        """Return the task's place, None if it does not wait."""
        return self._places.get(key)

    def first(self, shape: Shape) -> Place | None:
        """Return the place of the first task of this shape, None if none waits."""
        return self._at(shape, 0)

    def firsts(self) -> Iterator[Place]:
        """Return the first place of each shape, in no order. O(shapes)."""
        return (queue.peekitem(0)[1] for queue in self._queues.values())

    def counts(self) -> dict[Shape, int]:
        """Return how many tasks of each shape wait. O(shapes)."""
        return {shape: len(queue) for shape, queue in self._queues.items()}

    def visit(self, served: Callable[[Place], bool]) -> None:
        """Call `served` for each place in order of rank, and skip the rest of a shape when
        it returns False: who asks for the same fares no better. It may remove the place.
        O(shapes + places served).
        """
        fronts = [(place.rank, place.shape, 0) for place in self.firsts()]
        heapq.heapify(fronts)
        while fronts:
            _, shape, index = heapq.heappop(fronts)
            place = self._at(shape, index)
            if place is None or not served(place):
                continue
            index += place.task.key in self._places  # it stays, so the next one is behind it
            following = self._at(shape, index)
            if following is not None:
                heapq.heappush(fronts, (following.rank, shape, index))

    def _at(self, shape: Shape, index: int) -> Place | None:
        queue = self._queues.get(shape)
        if queue is None or index >= len(queue):
            return None
        place: Place = queue.peekitem(index)[1]
        return place
